// For everybody: every panel clean for axe in both themes and at 200 %, and everything reached by the keyboard alone.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { Lab, go, row, until } from "./lab.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const lab = new Lab("access");
let alice, bob;
const PANELS = ["Peers", "Messages", "Queue", "Mesh", "Charts", "Events", "This node"];

before(async () => {
  [alice, bob] = await lab.pair();
  await alice.call("peers.approve", { peer: await bob.id() });
  await bob.call("peers.approve", { peer: await alice.id() });
  for (const body of ["the first", "the second\nof two lines", "\u202Ehidden"]) await bob.call("send", { to: await alice.id(), body });
  const sent = await alice.call("send", { to: await bob.id(), body: "from alice", wait_ms: 10_000 });
  assert.equal(sent.state, "delivered");
  const carol = await lab.daemon("carol");
  await carol.start("--peer", alice.address);
  await until("carol to be pending", async () => (await alice.call("peers.pending")).pending.length > 0);
  await until("two samples", async () => (await alice.call("feed.snapshot", { section: "stats" })).rows.length >= 2);
});
after(() => lab.close());

async function clean(page, where) {
  // Through the protocol of the debugger, as an extension would: the rules of the page do not hold for it.
  if (!(await page.evaluate("typeof axe !== 'undefined'"))) await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const got = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return got.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
  });
  assert.deepEqual(found, [], where);
}

for (const [title, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["200 %", { colorScheme: "light", viewport: { width: 680, height: 430 }, deviceScaleFactor: 2 }],
]) {
  test(`axe finds nothing on any panel: ${title}`, async () => {
    const page = await lab.page(alice, { ...options, bypassCSP: true });
    const name = title.replace(" %", "");
    for (const panel of PANELS) {
      await go(page, panel);
      if (panel === "Peers" || panel === "Messages") await row(page, "bob").waitFor();
      if (panel === "Charts") await page.locator(".plot canvas").first().waitFor();
      if (panel === "This node") await page.locator(".card", { hasText: "Walls" }).getByText("no new privileges").waitFor();
      await clean(page, `${panel}, ${title}`);
      await lab.shot(page, `${panel.toLowerCase().replace(" ", "-")}-${name}`);
      const wide = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${panel} does not scroll sideways: ${wide} px`);
    }
    await go(page, "Peers");
    await row(page, "bob").getByRole("button").click();
    await page.locator("im-peer dl").first().waitFor();
    await clean(page, `drawer, ${title}`);
    await lab.shot(page, `drawer-${name}`);
    await page.locator("im-peer").getByRole("button", { name: "Block" }).click();
    await page.getByRole("dialog").waitFor();
    await clean(page, `question, ${title}`);
    await page.keyboard.press("Escape");
    await go(page, "Messages");
    await page.evaluate((id) => (location.hash = `#messages/${id}`), await bob.id());
    const mine = page.locator("im-thread .message.out").last();
    await mine.getByRole("button", { name: "Timeline" }).click();
    await mine.locator(".timeline li").first().waitFor();
    await clean(page, `thread, ${title}`);
    await lab.shot(page, `thread-${name}`);
    await page.context().close();
  });
}

test("targets are at least 24 pixels in both directions", async () => {
  const page = await lab.page(alice);
  for (const panel of PANELS) {
    await go(page, panel);
    const small = await page.evaluate(() => [...document.querySelectorAll("button, summary, input, select, nav a, a.button")]
      .filter((e) => e.checkVisibility()).map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width && (r.width < 24 || r.height < 24))
      .map(([e, r]) => `${e.outerHTML.slice(0, 90)} ${Math.round(r.width)}x${Math.round(r.height)}`));
    assert.deepEqual(small, [], panel);
  }
  await page.context().close();
});

test("by the keyboard alone: skip, choose a peer, block it, think better of it, write to it", async () => {
  const page = await lab.page(alice);
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() || document.activeElement?.getAttribute("aria-label") || document.activeElement?.tagName);
  const tabTo = async (pattern, most = 60) => {
    for (let i = 0; i < most; i++) {
      await page.keyboard.press("Tab");
      const seen = await page.evaluate(() => {
        const e = document.activeElement;
        const s = getComputedStyle(e);
        return { visible: s.outlineStyle !== "none" || e === document.body, what: e.outerHTML.slice(0, 80) };
      });
      assert.ok(seen.visible, `the focus is seen on ${seen.what}`);
      if (pattern.test(await focused())) return;
    }
    assert.fail(`Tab does not lead to ${pattern}`);
  };
  await row(page, "bob").waitFor();
  await page.keyboard.press("Tab");
  assert.match(await focused(), /Skip to the panel/);
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "MAIN");
  await tabTo(/^bob|^carol/);
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await until("the second row to have the focus", async () => /carol/.test(await focused()));
  await page.keyboard.press("ArrowUp");
  await until("the first row to have the focus", async () => /bob/.test(await focused()));
  await page.keyboard.press("Enter");
  await until("the drawer to have the focus", () => page.evaluate(() => document.activeElement.id === "peer-title"));
  await tabTo(/^Block$/);
  await page.keyboard.press("Enter");
  await until("the question to begin with the harmless answer", async () => (await focused()) === "Leave it");
  await page.keyboard.press("Enter");
  await until("the focus to be back", async () => (await focused()) === "Block");
  await page.keyboard.press("Escape");
  await until("the row to have the focus again", async () => /bob/.test(await focused()));
  await page.keyboard.press("Enter");
  await until("the drawer to have the focus", () => page.evaluate(() => document.activeElement.id === "peer-title"));
  await tabTo(/^Message$/);
  await page.keyboard.press("Enter");
  await page.locator("im-thread").waitFor();
  for (let i = 0; i < 60 && (await page.evaluate(() => document.activeElement.tagName)) !== "TEXTAREA"; i++) await page.keyboard.press("Tab");
  await page.keyboard.type("typed, not clicked");
  await page.keyboard.press("Control+Enter");
  await page.locator("im-thread .message", { hasText: "typed, not clicked" }).getByText(/delivered|sent|read/).waitFor();
  await page.context().close();
});

test("a screen reader hears what matters, and not every change", async () => {
  const page = await lab.page(alice);
  const region = page.locator('[aria-live="polite"]');
  await until("the first words", async () => /Live\./.test(await region.textContent()));
  const words = await page.evaluate(async () => {
    const heard = [];
    new MutationObserver(() => heard.push(document.querySelector('[aria-live="polite"]').textContent)).observe(document.querySelector('[aria-live="polite"]'), { childList: true, characterData: true, subtree: true });
    globalThis.heard = heard;
    return heard;
  });
  assert.deepEqual(words, []);
  for (let i = 0; i < 20; i++) await bob.call("send", { to: await alice.id(), body: `burst ${i}` });
  await page.getByRole("navigation", { name: "Panels" }).getByText(/2\d/).waitFor();
  assert.deepEqual(await page.evaluate(() => globalThis.heard), [], "twenty messages are no announcement");
  const table = page.locator("im-table table").first();
  assert.equal(Number(await table.getAttribute("aria-rowcount")), (await table.locator("tbody tr[aria-rowindex]").count()) + 1);
  await page.context().close();
});
