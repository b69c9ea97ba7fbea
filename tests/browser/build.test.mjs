// What is committed is what the sources give, within its budget, and names nobody else.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { ROOT } from "./lab.mjs";

const assets = join(ROOT, "web/assets");
const packed = () => readdirSync(assets).filter((f) => f.endsWith(".gz"));

test("all assets together are at most 60 KiB", () => {
  const total = packed().reduce((n, f) => n + readFileSync(join(assets, f)).length, 0);
  assert.ok(total <= 60 * 1024, `${total} bytes`);
  assert.equal(packed().length, 4);
});

test("the page asks nobody else for anything", () => {
  for (const f of packed()) {
    const text = gunzipSync(readFileSync(join(assets, f))).toString();
    const urls = (text.match(/(?:https?:)?\/\/[\w.-]+\.\w+[^\s"'`)]*/g) ?? []).filter((u) => !/^https?:\/\/www\.w3\.org\//.test(u) && !u.includes("lit.dev"));
    assert.deepEqual(urls, [], f);
  }
});

test("lock files name no host", () => {
  for (const f of ["web/ui/package-lock.json", "tests/browser/package-lock.json"]) assert.doesNotMatch(readFileSync(join(ROOT, f), "utf8"), /"resolved"|https?:\/\/registry/, f);
});

test("the types hold, and a build gives the committed bytes", { skip: !existsSync(join(ROOT, "web/ui/node_modules/esbuild")) && "run `make web` once" }, () => {
  const out = mkdtempSync(join(tmpdir(), "ironlab-web-"));
  try {
    const at = { cwd: join(ROOT, "web/ui"), stdio: "pipe" };
    execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "--noEmit"], at);
    execFileSync(process.execPath, ["build.mjs", out], at);
    for (const f of readdirSync(out)) assert.ok(readFileSync(join(out, f)).equals(readFileSync(join(assets, f))), `${f} differs: run \`make web\` and commit web/assets`);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
