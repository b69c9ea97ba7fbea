// A daemon goes and comes back: the page says since when it is stale, and is true again by itself.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lab, go, quiet, row, until } from "./lab.mjs";

const lab = new Lab("reconnect");
let alice, bob, page;

before(async () => {
  [alice, bob] = await lab.pair();
  await lab.trust(alice, bob);
  page = await lab.page(alice);
});
after(() => lab.close());

const stale = () => page.getByText(/stale since \d\d:\d\d:\d\d/).waitFor();
const live = () => page.getByText("live", { exact: true }).waitFor();

test("after an orderly restart the page goes on with the same session", async () => {
  await row(page, "bob").getByText("online").waitFor();
  await alice.stop();
  await stale();
  await lab.shot(page, "stale");
  await alice.start();
  await live();
  await bob.call("send", { to: await alice.id(), body: "after the restart" });
  await go(page, "Messages");
  await row(page, "bob").getByRole("button").click();
  await page.locator("im-thread .message", { hasText: "after the restart" }).waitFor();
});

test("a click while nobody answers says so, and changes nothing", async () => {
  await alice.stop("SIGKILL");
  await stale();
  await page.getByLabel(/^Message to/).fill("into the void");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("alert").getByText("The daemon does not answer.").waitFor();
  await page.getByRole("alert").getByText("ironmesh status").waitFor();
  await lab.shot(page, "no-answer");
  await page.getByRole("button", { name: "Dismiss" }).first().click();
});

test("after kill -9 everything that happened meanwhile shows, and what is gone is gone", async () => {
  await bob.call("send", { to: await alice.id(), body: "while alice was dead" });
  await alice.start();
  await page.getByRole("button", { name: "Try now" }).click({ timeout: 2000 }).catch(() => {}); // or it came back by itself
  await live();
  await page.locator("im-thread .message", { hasText: "while alice was dead" }).waitFor();
  await alice.call("peers.forget", { peer: await bob.id() }).catch(() => {});
  await go(page, "Peers");
  await until("the page to show what the daemon says", async () => {
    const state = (await alice.peer("bob").catch(() => null))?.state;
    return state ? (await row(page, "bob").getByText(state).count()) > 0 : (await page.locator("im-table tbody tr", { hasText: "bob" }).count()) === 0;
  });
  quiet(page, /ERR_CONNECTION|WebSocket|Failed to load/);
});

test("a delta that is lost on the way is noticed: everything is read again", async () => {
  const context = await lab.context();
  const other = await context.newPage();
  let lose = 0;
  let snapshots = 0;
  await other.routeWebSocket(/\/api\/v1\/live/, (ws) => {
    const server = ws.connectToServer();
    server.onMessage((text) => {
      if (lose && JSON.parse(text).type === "feed") {
        lose--;
        return;
      }
      ws.send(text);
    });
  });
  other.on("request", (r) => r.url().endsWith("/feed.snapshot") && snapshots++);
  await other.goto(await alice.url());
  await other.getByText("live", { exact: true }).waitFor();
  const first = snapshots;
  const who = (await alice.call("peers.list")).peers[0].id;
  lose = 1;
  await alice.call("peers.alias", { peer: who, alias: "lost-on-the-way" });
  await until("the delta to be lost", () => lose === 0);
  await alice.call("peers.alias", { peer: who, alias: "seen-again" });
  await row(other, "seen-again").waitFor();
  assert.ok(snapshots > first, "a snapshot was taken again");
  await context.close();
});
