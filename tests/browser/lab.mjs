// Real daemons and a real browser for the tests of the page. Everything lives below one temporary folder, listens on
// 127.0.0.1 only and dies with the test. The program under test is $IRONMESH, pictures go to $BROWSER_SHOTS.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const BINARY = resolve(process.env.IRONMESH || join(ROOT, "build/release/ironmesh"));
const SHOTS = resolve(process.env.BROWSER_SHOTS || join(ROOT, "build/release/browser"));
const PASSPHRASE = "correct-horse-battery-staple-lab";
const run = promisify(execFile);
export const PATIENCE = Number(process.env.BROWSER_PATIENCE || 60_000); // how long a loaded machine may take for what usually takes milliseconds

export async function until(what, fn, ms = PATIENCE) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      const got = await fn();
      if (got) return got;
      last = undefined;
    } catch (e) {
      if (e.final) throw e;
      last = e;
    }
    if (Date.now() > end) throw new Error(`waited ${ms / 1000} s in vain for: ${what}${last ? ` (${last.message})` : ""}`);
    await new Promise((r) => setTimeout(r, 30));
  }
}

let nextPort = 20000 + ((process.pid * 131) % 9000); // below those that the kernel gives away
async function port() {
  for (;;) {
    const n = nextPort++;
    const free = await new Promise((done) => {
      const s = net.createServer();
      s.once("error", () => done(false));
      s.listen(n, "127.0.0.1", () => s.close(() => done(true)));
    });
    if (free) return n;
  }
}

class Daemon {
  constructor(lab, name, at) {
    this.lab = lab;
    this.name = name;
    this.port = at;
    this.home = join(lab.folder, name);
    this.log = join(lab.folder, name + ".log");
    this.pass = join(lab.folder, name + ".pass");
    this.process = null;
    this.options = [];
  }
  get address() {
    return `127.0.0.1:${this.port}`;
  }
  async cli(...args) {
    return (await run(BINARY, [...args, "--home", this.home], { timeout: PATIENCE })).stdout;
  }
  async make() {
    mkdirSync(this.home, { mode: 0o700, recursive: true });
    writeFileSync(this.pass, PASSPHRASE + "\n", { mode: 0o600 });
    if (!existsSync(join(this.home, "keys.json"))) await this.cli("keys", "generate", "--name", this.name, "--clear");
    return this;
  }
  async start(...options) {
    assert.equal(this.process, null, `${this.name} runs already`);
    if (options.length) this.options = options;
    const log = openSync(this.log, "a");
    // The daemon dies with this test, however that ends.
    this.process = spawn("setpriv", ["--pdeathsig", "KILL", BINARY, "run", "--home", this.home, "--name", this.name, "--bind", "127.0.0.1",
      "--port", String(this.port), "--passphrase-file", this.pass, "--discovery", "off", ...this.options], { stdio: ["ignore", log, log] });
    closeSync(log);
    const process = this.process;
    this.ended = new Promise((done) => process.on("exit", (code, signal) => done(code ?? signal)));
    await until(`${this.name} to answer`, async () => {
      if (process.exitCode !== null) {
        this.process = null;
        throw Object.assign(new Error(`${this.name} ended with ${process.exitCode}:\n${this.tail()}`), { final: true });
      }
      return this.call("status");
    });
    return this;
  }
  async stop(signal = "SIGTERM") {
    if (!this.process) return;
    this.process.kill(signal);
    const code = await this.ended;
    this.process = null;
    if (signal === "SIGTERM") assert.equal(code, 0, `${this.name} ended with ${code}:\n${this.tail()}`);
  }
  tail() {
    return readFileSync(this.log, "utf8").split("\n").slice(-20).join("\n");
  }
  /** One call of the control socket. */
  call(method, params = {}) {
    return new Promise((done, fail) => {
      const s = net.connect(join(this.home, "control.sock"));
      let text = "";
      s.setTimeout(PATIENCE, () => s.destroy(new Error("the control socket is silent")));
      s.on("error", fail);
      s.on("connect", () => s.write(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }) + "\n"));
      s.on("data", (piece) => {
        text += piece;
        const end = text.indexOf("\n");
        if (end < 0) return;
        s.destroy();
        const answer = JSON.parse(text.slice(0, end));
        if (answer.error) fail(Object.assign(new Error(answer.error.message), answer.error.data));
        else done(answer.result);
      });
      s.on("close", () => fail(new Error("the control socket was closed")));
    });
  }
  async id() {
    return (this.id_ ??= (await this.call("keys.fingerprint")).id);
  }
  async peer(who) {
    return this.call("peers.show", { peer: who });
  }
  /** A fresh one-time address of the page. */
  async url(role = "admin") {
    return JSON.parse(await this.cli("dashboard", "--no-open", "--json", "--role", role)).url;
  }
}

export class Lab {
  constructor(name) {
    this.name = name;
    this.folder = mkdtempSync(join(tmpdir(), `ironlab-browser-${name}-`));
    this.daemons = [];
    mkdirSync(SHOTS, { recursive: true });
  }
  async daemon(name) {
    const d = await new Daemon(this, name, await port()).make();
    this.daemons.push(d);
    return d;
  }
  /** Two daemons that trust each other and are connected. */
  async pair() {
    const alice = await this.daemon("alice");
    const bob = await this.daemon("bob");
    await bob.start("--peer", alice.address); // each dials the other: whoever restarts is back at once
    await alice.start("--peer", bob.address);
    await until("bob to be pending", async () => (await alice.peer("bob")).online && (await bob.peer("alice")).online);
    return [alice, bob];
  }
  async trust(a, b) {
    await a.call("peers.approve", { peer: await b.id() });
    await b.call("peers.approve", { peer: await a.id() });
  }
  async browse(more = []) {
    this.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
      timeout: PATIENCE,
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more],
    });
    return this.browser;
  }
  async context(options = {}) {
    if (!this.browser) await this.browse();
    const context = await this.browser.newContext({ viewport: { width: 1360, height: 860 }, reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(PATIENCE);
    return context;
  }
  /** The page of a daemon, opened by a fresh address; everything it complains about is kept. */
  async page(daemon, options = {}, role = "admin") {
    const context = await this.context(options);
    await context.grantPermissions(["clipboard-write"]);
    const page = await context.newPage();
    watch(page);
    await page.goto(await daemon.url(role));
    await page.getByText("live", { exact: true }).waitFor();
    return page;
  }
  async shot(page, name) {
    await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: "disabled" });
  }
  async close() {
    await this.browser?.close();
    for (const d of this.daemons) {
      if (!d.process) continue;
      await d.stop();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function watch(page) {
  page.problems = [];
  page.elsewhere = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && page.problems.push(m.text()));
  page.on("pageerror", (e) => page.problems.push(e.stack ?? String(e)));
  page.on("dialog", (d) => {
    page.problems.push(`a dialog of the browser: ${d.message()}`);
    d.dismiss();
  });
  page.on("request", (r) => {
    const url = new URL(r.url());
    if (url.hostname !== "127.0.0.1" && url.protocol !== "data:") page.elsewhere.push(r.url());
  });
}

/** Nothing was blocked, thrown or asked of anybody else. */
export function quiet(page, allowed = null) {
  const problems = allowed ? page.problems.filter((p) => !allowed.test(p)) : page.problems;
  assert.deepEqual(problems, [], "the console of the page is silent");
  assert.deepEqual(page.elsewhere, [], "the page asks nobody but its daemon");
}

export const row = (page, text) => page.locator("im-table tbody tr", { hasText: text }).first();
export async function go(page, panel) {
  await page.getByRole("navigation", { name: "Panels" }).getByRole("link", { name: new RegExp(`^${panel}`) }).click();
}

/** What was copied, by pasting it: the page itself may not read the clipboard. Line ends get lost in a field of one line. */
export async function pasted(page, field) {
  await field.fill("");
  await field.press("Control+v");
  const text = await field.inputValue();
  await field.fill("");
  return text;
}
