// Every panel and every action, against two real daemons: what is clicked here is seen to have happened there.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lab, go, pasted, quiet, row, until } from "./lab.mjs";

const lab = new Lab("panels");
let alice, bob, page;

before(async () => {
  [alice, bob] = await lab.pair();
  await bob.id(); // remembered for when it is stopped
  page = await lab.page(alice);
});
after(() => lab.close());

const thread = () => page.locator("im-thread");
const message = (text) => thread().locator(".message", { hasText: text }).last();
const send = async (text) => {
  await thread().getByLabel(/^Message to/).fill(text);
  await thread().getByRole("button", { name: "Send" }).click();
};
const yes = (name) => page.getByRole("dialog").getByRole("button", { name }).click();

test("the header says who this is, how it is, and how it is reached", async () => {
  await page.getByRole("heading", { level: 1, name: "alice" }).waitFor();
  const fingerprint = (await alice.call("keys.fingerprint")).fingerprint;
  await page.locator(".fp-group").getByRole("button", { name: "Copy the fingerprint" }).click();
  assert.equal(await pasted(page, page.getByLabel("Filter peers")), fingerprint);
  await page.locator(".health summary").click();
  await page.locator(".pop").getByText("ironmesh doctor").waitFor();
  await page.locator(".health summary").click();
  await page.getByRole("list", { name: "Transports" }).getByText("ws").waitFor();
  await page.getByRole("button", { name: "Fingerprint as QR code" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(fingerprint).waitFor();
  assert.ok(((await dialog.locator("svg.code path").getAttribute("d")) ?? "").length > 500, "a code is drawn");
  await lab.shot(page, "qr");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
});

test("a pending peer is at the top, and its button resolves it", async () => {
  const item = page.locator(".attention li", { hasText: "bob" });
  await item.waitFor();
  await lab.shot(page, "attention");
  await item.getByRole("button", { name: /approve|trust/i }).click();
  await page.getByRole("dialog").getByRole("button").last().click();
  await until("bob to be trusted", async () => (await alice.peer("bob")).state === "trusted");
  await item.waitFor({ state: "detached" });
  await bob.call("peers.approve", { peer: await alice.id() });
  await row(page, "bob").getByText("trusted").waitFor();
  await row(page, "bob").getByText("online").waitFor();
});

test("the drawer of a peer shows its identity and pings it", async () => {
  await row(page, "bob").getByRole("button").click();
  const drawer = page.locator("im-peer");
  await drawer.getByText((await bob.call("keys.fingerprint")).fingerprint).first().waitFor();
  await drawer.getByText(bob.address).first().waitFor();
  await drawer.getByRole("button", { name: "Ping" }).click();
  await drawer.getByText(/Answered in/).waitFor();
  await lab.shot(page, "peer");
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
});

test("a message is sent, delivered, read, and its timeline says when", async () => {
  await go(page, "Peers");
  await row(page, "bob").getByRole("button").click();
  await page.locator("im-peer").getByRole("link", { name: "Message" }).click();
  await send("hello from the page");
  await message("hello from the page").getByText("delivered").waitFor();
  await until("bob to have it", async () => (await bob.call("inbox.take")).messages[0]?.body === "hello from the page");
  await message("hello from the page").getByText("read", { exact: true }).waitFor();
  await message("hello from the page").getByRole("button", { name: "Timeline" }).click();
  const steps = message("hello from the page").locator(".timeline ol");
  for (const word of ["accepted", "delivered", "read"]) await steps.getByText(word, { exact: true }).waitFor();
  await steps.getByText(/via direct/).first().waitFor();
  assert.match(await steps.locator("time").first().getAttribute("title"), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  await lab.shot(page, "thread");
});

test("an answer comes in while one looks, without a reload", async () => {
  await bob.call("send", { to: await alice.id(), body: "and hello from bob" });
  await message("and hello from bob").waitFor();
  await message("and hello from bob").getByText("new", { exact: true }).waitFor();
  await page.getByRole("navigation", { name: "Panels" }).getByRole("link", { name: /Messages.*new/ }).waitFor();
});

test("shoulder mode takes the texts out of the page, not only out of sight", async () => {
  await page.getByRole("button", { name: "Hide the texts of messages" }).click();
  await thread().getByText(/hidden/).first().waitFor();
  assert.ok(!(await page.content()).includes("and hello from bob"));
  await lab.shot(page, "shoulder");
  await thread().locator(".message").last().getByRole("button", { name: "Show" }).click();
  await message("and hello from bob").waitFor();
  await page.getByRole("button", { name: "Hide the texts of messages" }).click();
  await message("hello from the page").waitFor();
});

test("what cannot be delivered waits in the queue, is tried again, and is cancelled", async () => {
  await bob.stop();
  await send("waits for bob");
  await message("waits for bob").getByText("queued").waitFor();
  await go(page, "Queue");
  await row(page, "bob").waitFor();
  await row(page, "bob").getByRole("button").click();
  const waiting = page.locator(".below");
  await waiting.getByRole("button", { name: "Cancel" }).first().waitFor();
  await lab.shot(page, "queue");
  await waiting.getByRole("button", { name: "Try now" }).first().click();
  await waiting.getByRole("button", { name: "Cancel" }).first().click();
  await yes("Cancel the message");
  await until("it to be cancelled", async () => (await alice.call("outbox.list")).messages[0].state === "cancelled");
  await page.getByText("Nothing waits.").waitFor();
});

test("what was cancelled is sent again when its peer is back", async () => {
  await go(page, "Messages");
  await row(page, "bob").getByRole("button").click();
  await message("waits for bob").getByText("cancelled").waitFor();
  await message("waits for bob").getByRole("button", { name: "Timeline" }).click();
  await message("waits for bob").getByRole("button", { name: "Send again" }).click();
  await until("it to wait again", async () => (await alice.call("outbox.list", { state: "queued" })).messages.length === 1);
  await bob.start();
  await message("waits for bob").locator("footer").getByText("delivered").waitFor();
});

test("a message that waits is cancelled in its thread", async () => {
  await bob.stop();
  await send("never mind");
  await message("never mind").getByText("queued").waitFor();
  await message("never mind").getByRole("button", { name: "Timeline" }).click();
  await message("never mind").getByRole("button", { name: "Cancel" }).click();
  await yes("Cancel the message");
  await message("never mind").getByText("cancelled").first().waitFor();
  await bob.start();
});

test("what ended badly is at the top, until it is set aside", async () => {
  await bob.stop();
  await alice.call("send", { to: await bob.id(), body: "too late", ttl_ms: 1000 });
  const item = page.locator(".attention li", { hasText: /to bob|bob/ }).filter({ hasText: /message/ });
  await item.waitFor();
  await lab.shot(page, "failed");
  await item.getByRole("button", { name: "Set aside" }).click();
  await item.waitFor({ state: "detached" });
  await bob.start();
});

test("filters and sort are kept over a reload", async () => {
  await go(page, "Peers");
  await page.getByLabel("Filter peers").fill("nobody of this name");
  await page.getByText("No peer matches.").waitFor();
  await page.reload();
  await page.getByText("No peer matches.").waitFor();
  await page.getByRole("button", { name: "Clear the filter" }).click();
  await page.getByRole("group", { name: "Show only" }).getByRole("button", { name: "Online" }).click();
  await row(page, "bob").waitFor();
  await page.getByRole("button", { name: "Last heard" }).click();
  await page.reload();
  assert.equal(await page.getByRole("group", { name: "Show only" }).getByRole("button", { name: "Online" }).getAttribute("aria-pressed"), "true");
  await page.locator('th[aria-sort="ascending"]', { hasText: "Last heard" }).waitFor();
  await page.getByRole("group", { name: "Show only" }).getByRole("button", { name: "Online" }).click();
});

test("the mesh is a table, and the same as a picture", async () => {
  await go(page, "Mesh");
  await row(page, "bob").waitFor();
  await page.locator("svg.graph text", { hasText: "alice" }).waitFor();
  assert.equal(await page.locator("svg.graph .node").count(), 2);
  assert.equal(await page.locator("svg.graph .edge").count(), await page.locator("im-mesh tbody tr").count());
  await lab.shot(page, "mesh");
});

test("events come in, pause, and are copied as JSON; the audit log is beside them", async () => {
  await go(page, "Events");
  await row(page, "message.delivered").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  const before = await page.locator("im-events tbody tr").first().textContent();
  await alice.call("send", { to: await bob.id(), body: "while paused" });
  await page.getByRole("button", { name: /Go on \(\d+ new\)/ }).waitFor();
  assert.equal(await page.locator("im-events tbody tr").first().textContent(), before);
  await page.getByRole("button", { name: /Go on/ }).click();
  await page.getByRole("button", { name: "Copy as JSON" }).click();
  const lines = JSON.parse(await pasted(page, page.getByLabel("Filter lines")));
  assert.ok(lines.some((l) => l.type === "message.delivered"));
  await lab.shot(page, "events");
  await page.getByRole("button", { name: "Audit log" }).click();
  await row(page, /TRUST|PEER|HANDSHAKE|SESSION/).waitFor();
  await lab.shot(page, "audit");
});

test("this node says what it is, what protects it, and what is in effect", async () => {
  await go(page, "This node");
  await page.locator(".card", { hasText: "Identity" }).getByText(alice.address).waitFor();
  await page.locator(".card", { hasText: "Walls" }).getByText(/no new privileges/).waitFor();
  await page.locator(".card", { hasText: "Backups" }).getByText("ironmesh backup").first().waitFor();
  await page.locator(".card", { hasText: "Sessions of this page" }).getByText("this page", { exact: true }).waitFor();
  await page.getByLabel("Filter settings").fill("port");
  await page.locator(".card", { hasText: "Configuration" }).getByText(String(alice.port)).first().waitFor();
  await lab.shot(page, "node");
});

test("a peer is blocked, and approved again", async () => {
  await go(page, "Peers");
  await row(page, "bob").getByRole("button").click();
  const drawer = page.locator("im-peer");
  await drawer.getByRole("button", { name: "Block" }).click();
  await yes("Leave it");
  assert.equal((await alice.peer("bob")).state, "trusted", "nothing happens without a yes");
  await drawer.getByRole("button", { name: "Block" }).click();
  await yes("Block it");
  await until("bob to be blocked", async () => (await alice.peer("bob")).state === "blocked");
  await row(page, "bob").getByText("blocked").waitFor();
  await drawer.getByRole("button", { name: "Approve" }).click();
  await yes("Trust it");
  await until("bob to be trusted", async () => (await alice.peer("bob")).state === "trusted");
  await page.keyboard.press("Escape");
});

test("a stranger is ignored, and the strip is empty", async () => {
  const carol = await lab.daemon("carol");
  await carol.start("--peer", alice.address);
  const item = page.locator(".attention li", { hasText: "carol" });
  await item.waitFor();
  await item.getByRole("link", { name: "Details" }).click();
  await page.locator("im-peer").getByRole("button", { name: "Ignore" }).click();
  await until("carol to be ignored", async () => (await alice.call("peers.pending", { all: true })).pending.some((p) => p.name === "carol" && p.ignored));
  await item.waitFor({ state: "detached" });
  await row(page, "carol").getByText("ignored").waitFor();
  await carol.stop();
});

test("a refusal says what happened, what it means, and the next command", async () => {
  await go(page, "Messages");
  await page.evaluate((id) => (location.hash = `#messages/${id}`), await bob.id());
  await message("and hello from bob").waitFor();
  await alice.call("peers.block", { peer: await bob.id() });
  await thread().getByPlaceholder(/Approve this peer first/).waitFor();
  await alice.call("peers.approve", { peer: await bob.id() });
  await page.evaluate((id) => (location.hash = `#messages/${id}`), "00".repeat(16));
  await send("to nobody");
  await page.locator(".fault").getByText(/Next:/).first().waitFor();
  await lab.shot(page, "fault");
});

test("a burst of more than one page leaves no hole in the thread", async () => {
  await page.evaluate((id) => (location.hash = `#messages/${id}`), await bob.id());
  await message("and hello from bob").waitFor();
  await bob.call("send_many", { to: await alice.id(), messages: Array.from({ length: 150 }, (_, i) => `burst ${i}`) });
  await message("burst 149").waitFor();
  const seen = new Set();
  const list = thread().locator(".scroll");
  await until("all of the burst to be read backwards", async () => {
    for (const text of await thread().locator(".message .text").allTextContents()) if (text.startsWith("burst ")) seen.add(text);
    await list.evaluate((e) => (e.scrollTop -= 400));
    return seen.size === 150;
  });
});

test("charts are drawn, and have their numbers as a table", async () => {
  await go(page, "Charts");
  await page.locator(".plot canvas").first().waitFor();
  await page.locator("figure").first().getByText("As a table").click();
  await page.locator("figure").first().locator("tbody tr").nth(1).waitFor();
  await lab.shot(page, "charts");
  await page.getByRole("button", { name: "Last day" }).click();
  await page.getByRole("button", { name: "Last day", pressed: true }).waitFor();
});

test("the theme goes dark and back", async () => {
  await page.getByRole("button", { name: /Theme: auto/ }).click();
  await page.getByRole("button", { name: /Theme: light/ }).click();
  await go(page, "Peers");
  await lab.shot(page, "peers-dark");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.getByRole("button", { name: /Theme: dark/ }).click();
  await lab.shot(page, "peers-light");
});

test("a session that may only look has no button that changes anything", async () => {
  const reader = await lab.page(alice, {}, "read");
  await row(reader, "bob").getByRole("button").click();
  await reader.locator("im-peer dl").first().waitFor();
  for (const name of ["Block", "Approve", "Ignore", "Ping"]) assert.equal(await reader.locator("im-peer").getByRole("button", { name }).count(), 0, name);
  quiet(reader);
  await reader.context().close();
});

test("logging out ends it", async () => {
  await page.getByRole("button", { name: "Log out" }).click();
  await yes("Log out");
  await page.getByRole("heading", { name: "This page needs a key" }).waitFor();
  await lab.shot(page, "door");
  quiet(page, /40\d|status of 4/);
});
