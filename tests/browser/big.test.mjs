// Ten thousand peers and a hundred thousand messages: the document stays small whatever is scrolled.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { join, resolve } from "node:path";
import { Lab, PATIENCE, ROOT, go, quiet, row, until } from "./lab.mjs";

const lab = new Lab("big");
const maker = resolve(process.env.BIG_HOME || resolve(ROOT, "build/release/tests/bench/big_home"));
let daemon, page;

before(async () => {
  execFileSync(maker, [join(lab.folder, "big"), "--peers", "10000", "--messages", "100000", "--hostile"], { timeout: 4 * PATIENCE });
  daemon = await lab.daemon("big");
  await daemon.start();
  page = await lab.page(daemon);
});
after(() => lab.close());

const elements = () => page.evaluate(() => document.querySelectorAll("*").length);

test("the table of peers counts ten thousand and holds a few dozen", async () => {
  await until("all peers", async () => (await page.locator("im-peers .tally").textContent()).includes("10,0"));
  assert.ok((await page.locator("im-peers table").getAttribute("aria-rowcount")) >= "10000");
  assert.ok((await page.locator("im-peers tbody tr").count()) < 80);
  await lab.shot(page, "big-peers");
});

test("scrolling from end to end shows every place, and the document does not grow", async () => {
  const before = await elements();
  const got = await page.evaluate(async () => {
    const table = document.querySelector("im-peers im-table");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const took = [];
    let most = 0;
    let empty = 0;
    const steps = 120;
    for (let i = 0; i <= steps; i++) {
      const began = performance.now();
      table.scrollTop = ((table.scrollHeight - table.clientHeight) * i) / steps;
      await frame();
      await frame();
      took.push(performance.now() - began);
      most = Math.max(most, table.querySelectorAll("tr").length);
      const box = table.getBoundingClientRect();
      const hit = document.elementFromPoint(box.left + 40, box.top + box.height / 2);
      if (!hit?.closest("tr[data-key]")) empty++;
    }
    took.sort((a, b) => a - b);
    return { most, empty, p50: took[60], p95: took[115] };
  });
  console.log(`    two frames after a jump: p50 ${got.p50.toFixed(1)} ms, p95 ${got.p95.toFixed(1)} ms`);
  assert.ok(got.most < 90, `${got.most} rows`);
  assert.equal(got.empty, 0, "no place was ever empty");
  assert.ok((await elements()) < before + 300);
});

test("filter and sort work on all of them", async () => {
  await page.getByRole("button", { name: "Trust" }).click();
  await page.locator('th[aria-sort="ascending"]', { hasText: "Trust" }).waitFor();
  await page.getByRole("button", { name: "Name" }).click();
  await page.getByRole("group", { name: "Show only" }).getByRole("button", { name: "Blocked" }).click();
  await until("fewer", async () => / of 10,/.test(await page.locator("im-peers .tally").textContent()));
  await page.getByRole("group", { name: "Show only" }).getByRole("button", { name: "Blocked" }).click();
});

test("End and Home go to the last row and back, with the focus", async () => {
  await page.locator("im-peers tbody .open").first().focus();
  await page.keyboard.press("End");
  const last = await page.locator("im-peers table").getAttribute("aria-rowcount");
  await until("the last row to have the focus", async () => (await page.evaluate(() => document.activeElement.closest("tr")?.getAttribute("aria-rowindex"))) === last);
  await page.keyboard.press("Home");
  await until("the first row to have the focus", async () => (await page.evaluate(() => document.activeElement.closest("tr")?.getAttribute("aria-rowindex"))) === "2");
});

test("hostile names stay text, and look-alikes are marked", async () => {
  const text = await page.evaluate(() => [...document.querySelectorAll("*")].map((e) => e.textContent).join("").slice(0, 4e6));
  assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069\u200b\u0007\u001b]/);
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.equal(await page.locator("im-table script, im-table img").count(), 0);
});

test("a long thread is read backwards, page by page, and the document stays small", async () => {
  await go(page, "Messages");
  await page.locator("im-messages tbody tr[data-key]").first().waitFor();
  const most = await daemon.call("conversations.list", { limit: 1000 });
  const busy = most.conversations.sort((a, b) => b.total - a.total)[0];
  await page.evaluate((id) => (location.hash = `#messages/${id}`), busy.peer);
  await page.locator("im-thread .message").first().waitFor();
  const got = await page.evaluate(async () => {
    const s = document.querySelector("im-thread .scroll");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    let shown = 0;
    const took = [];
    const seen = new Set();
    const end = performance.now() + 60_000;
    while (seen.size < 600 && performance.now() < end) {
      const began = performance.now();
      s.scrollTop -= 500;
      await frame();
      await frame();
      took.push(performance.now() - began);
      const all = s.querySelectorAll(".message");
      shown = Math.max(shown, all.length);
      for (const m of all) seen.add(m.dataset.key);
      if (s.querySelector(".begin")) break;
    }
    const atEnd = -s.scrollTop;
    s.scrollTop = 0;
    await frame();
    await frame();
    took.sort((a, b) => a - b);
    return { shown, seen: seen.size, atEnd, begin: !!s.querySelector(".begin"), p50: took[took.length >> 1], p95: took[Math.floor(took.length * 0.95)] };
  });
  console.log(`    ${got.seen} messages, two frames after a step: p50 ${got.p50.toFixed(1)} ms, p95 ${got.p95.toFixed(1)} ms`);
  assert.ok(got.seen >= Math.min(600, busy.total), `${got.seen} of ${busy.total}`);
  assert.ok(got.shown < 120, `${got.shown} in the document`);
  await lab.shot(page, "big-thread");
});

test("deltas come in while ten thousand are shown", async () => {
  await go(page, "Peers");
  const p = (await daemon.call("peers.list", { limit: 1 })).peers[0];
  await page.getByLabel("Filter peers").fill(p.id.slice(0, 12));
  await row(page, p.id.slice(0, 4)).waitFor();
  await daemon.call("peers.alias", { peer: p.id, alias: "renamed-just-now" });
  await row(page, "renamed-just-now").waitFor();
  quiet(page);
});
