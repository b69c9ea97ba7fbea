// What the page costs with ten thousand peers: first paint, until it can be used, memory, and one change. Beside it an
// empty page of the same browser in the same run, which is as fast as a page can be.
import { execFileSync } from "node:child_process";
import http from "node:http";
import { join, resolve } from "node:path";
import { Lab, ROOT, until } from "./lab.mjs";

const PEERS = Number(process.env.PEERS || 10_000);
const ROUNDS = 5;
const CHANGES = 200;
const lab = new Lab("bench");
const middle = (v) => [...v].sort((a, b) => a - b)[v.length >> 1];
const line = (name, value, ceiling = "") => console.log(`  ${name.padEnd(52)} ${String(value).padStart(10)} ${String(ceiling).padStart(10)}`);

const paint = (page) => page.evaluate(() => new Promise((done) => {
  const seen = performance.getEntriesByName("first-contentful-paint")[0];
  if (seen) return done(seen.startTime);
  new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime)).observe({ type: "paint", buffered: true });
}));

const empty = http.createServer((_q, a) => a.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>empty</title><p>.</p>"));
try {
  execFileSync(resolve(process.env.BIG_HOME || resolve(ROOT, "build/release/tests/bench/big_home")), [join(lab.folder, "big"), "--peers", String(PEERS), "--messages", "100000"]);
  const daemon = await lab.daemon("big");
  await daemon.start();
  await new Promise((done) => empty.listen(0, "127.0.0.1", done));

  const got = { fcp: [], floor: [], usable: [], all: [] };
  let page, cdp;
  for (let i = 0; i < ROUNDS; i++) {
    const bare = await (await lab.context()).newPage();
    await bare.goto(`http://127.0.0.1:${empty.address().port}/`);
    got.floor.push(await paint(bare));
    await bare.context().close();
    await page?.context().close();
    page = await (await lab.context()).newPage();
    await page.addInitScript((want) => {
      const look = () => {
        if (!globalThis.usable && document.querySelector("im-peers tbody tr[data-key]")) globalThis.usable = performance.now();
        if (Number(document.querySelector("im-peers table")?.getAttribute("aria-rowcount")) > want) globalThis.all = performance.now();
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    }, PEERS);
    await page.goto(await daemon.url());
    await until("all peers", () => page.evaluate("globalThis.all"));
    await page.getByText("live", { exact: true }).waitFor();
    got.fcp.push(await paint(page));
    got.usable.push(await page.evaluate("globalThis.usable"));
    got.all.push(await page.evaluate("globalThis.all"));
  }
  console.log(`the page with ${PEERS} peers (middle of ${ROUNDS})${"".padEnd(19)} measured    ceiling`);
  line("first contentful paint, ms", middle(got.fcp).toFixed(0), middle(got.floor).toFixed(0));
  line("until the first peers can be clicked, ms", middle(got.usable).toFixed(0));
  line("until every peer is in the table, ms", middle(got.all).toFixed(0));

  cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable");
  await cdp.send("HeapProfiler.collectGarbage");
  const metrics = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map((m) => [m.name, m.value]));
  const idle = await metrics();
  line("JavaScript heap, MiB", (idle.JSHeapUsedSize / 1048576).toFixed(1));
  line("nodes of the document", idle.Nodes);

  const peers = (await daemon.call("peers.list", { limit: 100 })).peers;
  const shown = page.locator("im-peers tbody tr", { hasText: "last-change" });
  await page.getByLabel("Filter peers").fill(peers[0].id.slice(0, 16));
  const before = await metrics();
  for (let i = 0; i < CHANGES; i++) await daemon.call("peers.alias", { peer: peers[i % peers.length].id, alias: `n${i}` });
  await daemon.call("peers.alias", { peer: peers[0].id, alias: "last-change" });
  await shown.waitFor();
  const then = await metrics();
  line("script for one changed peer, ms", (((then.ScriptDuration - before.ScriptDuration) * 1000) / (CHANGES + 1)).toFixed(3));
  line("all work of the page for one changed peer, ms", (((then.TaskDuration - before.TaskDuration) * 1000) / (CHANGES + 1)).toFixed(3));
} finally {
  empty.close();
  await lab.close();
}
