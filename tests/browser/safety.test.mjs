// The page and its server against those who would misuse them: what peers write, other pages, other hosts, old addresses.
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { Lab, go, quiet, row, until, watch } from "./lab.mjs";

const lab = new Lab("safety");
let alice, bob, page, origin;

const SCRIPT = '<script>window.owned=1</script><img src=x onerror="window.owned=1"><svg onload="window.owned=1">';
const BIDI = "invoice\u202Efdp.exe\u2066 end";
const CONTROL = "bell\u0007 escape\u001b[31m nul\u0001 zero\u200Bwidth";

before(async () => {
  [alice, bob] = await lab.pair();
  await lab.trust(alice, bob);
  await lab.browse(["--host-resolver-rules=MAP rebind.test 127.0.0.1"]);
  page = await lab.page(alice);
  origin = new URL(page.url()).origin;
});
after(() => lab.close());

const message = (text) => page.locator("im-thread .message", { hasText: text }).last();

test("what a peer writes stays text", async () => {
  for (const body of [SCRIPT, BIDI, CONTROL]) await bob.call("send", { to: await alice.id(), body });
  await go(page, "Messages");
  await row(page, "bob").getByRole("button").click();
  await message("window.owned").waitFor();
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.equal(await page.locator("im-thread .text script, im-thread .text img, im-thread .text svg").count(), 0);
  assert.equal(await message("window.owned").locator(".text").textContent(), SCRIPT);
});

test("what hides or reorders text is shown by its number", async () => {
  const marks = await message("invoice").locator(".mark").allTextContents();
  assert.deepEqual(marks, ["U+202E", "U+2066"]);
  const text = await page.locator("im-thread").textContent();
  assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069\u0007\u001b\u200b]/);
  await message("bell").getByText("U+0007").waitFor();
  await lab.shot(page, "hostile-bodies");
});

test("a body of one megabyte is cut, and read whole without a freeze", async () => {
  const long = "0123456789abcdef".repeat(65_536 - 16);
  await bob.call("send", { to: await alice.id(), body: long });
  await message("The first part of").waitFor();
  assert.ok((await message("The first part of").textContent()).length < 5000);
  await message("The first part of").getByRole("button", { name: "Show all" }).click();
  const lines = page.locator("dialog.reader .lines");
  await lines.waitFor();
  assert.ok((await lines.locator("pre").textContent()).length < 20_000, "only what is in sight is in the document");
  await lines.evaluate((e) => (e.scrollTop = e.scrollHeight));
  await until("the end to show", async () => (await lines.locator("pre").textContent()).trimEnd().endsWith("abcdef"));
  await lab.shot(page, "megabyte");
  await page.keyboard.press("Escape");
  await page.locator("dialog.reader").waitFor({ state: "detached" });
});

test("a megabyte of what hides is bounded too", async () => {
  await bob.call("send", { to: await alice.id(), body: "\u202E".repeat(200_000) + "tail" });
  await message("U+202E").waitFor();
  assert.ok((await message("U+202E").locator(".mark").count()) <= 200);
});

test("nothing of this broke a rule of the page", () => quiet(page));

// --- requests by hand: what a browser of an attacker would send, and what it would not --------------------------

async function session() {
  const cookies = await page.context().cookies();
  return { cookie: cookies.map((c) => `${c.name}=${c.value}`).join("; "), csrf: await page.evaluate(() => localStorage.getItem("ironmesh.csrf")) };
}
function ask(path, { method = "POST", body = "{}", ...headers } = {}) {
  const url = new URL(path, origin);
  return new Promise((done, fail) => {
    const r = http.request({ host: "127.0.0.1", port: url.port, path: url.pathname, method, headers: { Host: url.host, ...(method === "POST" ? { "Content-Type": "application/json" } : {}), ...headers } }, (a) => {
      let text = "";
      a.setEncoding("utf8");
      a.on("data", (d) => (text += d));
      a.on("end", () => done({ status: a.statusCode, headers: a.headers, text }));
    });
    r.on("error", fail);
    r.end(method === "POST" ? body : undefined);
  });
}
const upgrade = (headers) => ask("/api/v1/live", { method: "GET", Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", ...headers });

test("with everything right the same request is served", async () => {
  const { cookie, csrf } = await session();
  assert.equal((await ask("/api/v1/status", { Cookie: cookie, "X-Ironmesh-CSRF": csrf, Origin: origin })).status, 200);
});

test("without the CSRF header, or with another one, a cookie opens nothing", async () => {
  const { cookie, csrf } = await session();
  for (const header of [{}, { "X-Ironmesh-CSRF": csrf.slice(0, -1) + (csrf.endsWith("a") ? "b" : "a") }]) {
    const got = await ask("/api/v1/status", { Cookie: cookie, Origin: origin, ...header });
    assert.ok([401, 403].includes(got.status), String(got.status));
  }
});

test("without the cookie the CSRF token opens nothing", async () => {
  const { csrf } = await session();
  assert.equal((await ask("/api/v1/status", { "X-Ironmesh-CSRF": csrf, Origin: origin })).status, 401);
});

test("a wrong Host is refused on every route", async () => {
  const { cookie, csrf } = await session();
  for (const Host of ["rebind.test", "rebind.test:" + new URL(origin).port, "127.0.0.1.rebind.test", "localhost.:1"]) {
    for (const path of ["/", "/app.js", "/api/v1/status", "/livez", "/metrics"]) {
      const got = await ask(path, { method: path === "/api/v1/status" ? "POST" : "GET", Cookie: cookie, "X-Ironmesh-CSRF": csrf, Host });
      assert.ok([400, 403, 421].includes(got.status), `${Host} ${path}: ${got.status}`);
    }
  }
});

test("no Host, an empty one, and two of them are refused", async () => {
  for (const lines of ["", "Host:\r\n", `Host: ${new URL(origin).host}\r\nHost: rebind.test\r\n`]) {
    const got = await new Promise((done, fail) => {
      const s = net.connect(Number(new URL(origin).port), "127.0.0.1", () => s.write(`GET / HTTP/1.1\r\n${lines}Accept-Encoding: gzip\r\n\r\n`));
      let text = "";
      s.on("data", (d) => {
        text += d;
        s.end();
      });
      s.on("error", fail);
      s.on("close", () => done(text.split("\r\n")[0]));
    });
    assert.match(got, /^$|^HTTP\/1\.[01] (400|403|421)/, JSON.stringify(lines));
  }
});

test("a wrong Origin is refused on calls and on the upgrade", async () => {
  const { cookie, csrf } = await session();
  for (const Origin of ["http://rebind.test", "null", "http://127.0.0.1:1", origin.replace("http:", "https:"), origin + ".rebind.test"]) {
    assert.equal((await ask("/api/v1/status", { Cookie: cookie, "X-Ironmesh-CSRF": csrf, Origin })).status, 403, Origin);
    assert.equal((await upgrade({ Cookie: cookie, Origin })).status, 403, `upgrade from ${Origin}`);
  }
});

test("every answer carries the rules of the page", async () => {
  for (const path of ["/", "/app.js", "/app.css", "/icon.svg"]) {
    const { headers } = await ask(path, { method: "GET", "Accept-Encoding": "gzip" });
    assert.match(headers["content-security-policy"], /default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'/, path);
    assert.equal(headers["cross-origin-opener-policy"], "same-origin");
    assert.equal(headers["cross-origin-resource-policy"], "same-origin");
    assert.equal(headers["referrer-policy"], "no-referrer");
    assert.equal(headers["x-content-type-options"], "nosniff");
  }
  const cookies = await page.context().cookies();
  assert.equal(cookies.length, 1);
  assert.ok(cookies[0].httpOnly && cookies[0].sameSite === "Strict");
});

test("DNS rebinding: a name that leads here is not this host", async () => {
  const other = await page.context().newPage();
  const answer = await other.goto(`http://rebind.test:${new URL(origin).port}/`);
  assert.ok([400, 403, 421].includes(answer.status()), String(answer.status()));
  assert.ok(!(await other.content()).includes("im-app"));
  await other.close();
});

test("another page cannot call, cannot listen, and cannot frame this one", async () => {
  const evil = http.createServer((_q, a) => a.writeHead(200, { "Content-Type": "text/html" }).end("<title>evil</title><iframe></iframe>"));
  await new Promise((done) => evil.listen(0, "127.0.0.1", done));
  const other = await page.context().newPage();
  await other.goto(`http://127.0.0.1:${evil.address().port}/`);
  const before = (await alice.call("outbox.list")).messages.length;
  const got = await other.evaluate(async ([at, to]) => {
    const call = await fetch(at + "/api/v1/send", { method: "POST", mode: "no-cors", credentials: "include", headers: { "Content-Type": "text/plain" }, body: JSON.stringify({ to, body: "forged" }) }).then((r) => r.type, () => "refused");
    const read = await fetch(at + "/api/v1/status", { credentials: "include" }).then(() => "read", () => "refused");
    const listen = await new Promise((done) => {
      const s = new WebSocket(at.replace("http", "ws") + "/api/v1/live");
      s.onopen = () => done("open");
      s.onerror = () => done("refused");
    });
    const frame = document.querySelector("iframe");
    frame.src = at + "/";
    await new Promise((done) => (frame.onload = done));
    let inside = "closed";
    try {
      inside = frame.contentDocument ? "open" : "closed";
    } catch {
      inside = "closed";
    }
    return { call, read, listen, inside };
  }, [origin, await bob.id()]);
  assert.equal(got.read, "refused");
  assert.equal(got.listen, "refused");
  assert.equal(got.inside, "closed");
  assert.equal((await alice.call("outbox.list")).messages.length, before, "nothing was sent");
  await other.close();
  evil.close();
});

test("a stolen address is worth nothing: its code works once", async () => {
  const url = await alice.url();
  const owner = await lab.context();
  const mine = await owner.newPage();
  await mine.goto(url);
  await mine.getByText("live", { exact: true }).waitFor();
  assert.ok(!mine.url().includes("code="), "the code is out of the address bar at once");
  const thief = await lab.context();
  const theirs = await thief.newPage();
  watch(theirs);
  await theirs.goto(url);
  await theirs.getByRole("heading", { name: "This page needs a key" }).waitFor();
  await theirs.goto(origin + "/#peers");
  await theirs.getByRole("heading", { name: "This page needs a key" }).waitFor();
  await mine.getByText("live", { exact: true }).waitFor();
  await owner.close();
  await thief.close();
});

test("codes are not guessed: many wrong ones do not open, and the right one still does", async () => {
  const url = await alice.url();
  for (let i = 0; i < 20; i++) {
    const got = await ask("/api/v1/session", { Origin: origin, body: JSON.stringify({ code: `wrong${i}wrong${i}wrong${i}` }) });
    assert.ok([401, 429].includes(got.status), String(got.status));
  }
  const context = await lab.context();
  const fresh = await context.newPage();
  await fresh.goto(url);
  await fresh.getByText("live", { exact: true }).waitFor();
  await context.close();
});
