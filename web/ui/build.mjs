// Builds the page into DIR (default ../assets): one HTML, one CSS, one JS, one icon, each gzip'd for .incbin.
// The result depends on the sources and the lock file only, so that anyone can rebuild and compare.
import zopfli from "@gfx/zopfli";
import { build } from "esbuild";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../assets"));
const budget = 60 * 1024;

// uPlot hangs every kind of path on itself, so that nothing falls away by itself: the kinds we do not draw are unhooked.
const unused = ["(paths.bars    = bars);", "(paths.spline  = monotoneCubic);", "uPlot.join = join;", "uPlot.rangeAsinh = rangeAsinh;"];
const lean = {
  name: "lean",
  setup(b) {
    b.onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => {
      let contents = readFileSync(path, "utf8");
      for (const line of unused) {
        if (!contents.includes(line)) throw new Error(`uPlot has changed: "${line}" is not in it any more`);
        contents = contents.replace(line, "");
      }
      return { contents };
    });
    // White space at the begin of a line says nothing in our templates (no <pre>, no text that spans lines).
    b.onLoad({ filter: /\/src\/[a-z]+\.ts$/ }, ({ path }) => ({ contents: readFileSync(path, "utf8").replace(/\n[ \t]+/g, "\n"), loader: "ts" }));
  },
};

async function bundle(entry, more) {
  const result = await build({
    absWorkingDir: here, entryPoints: [entry], bundle: true, minify: true, write: false, target: "es2022",
    charset: "utf8", legalComments: "none", conditions: ["production"], ...more,
  });
  return Buffer.from(result.outputFiles[0].contents);
}

const files = {
  "index.html": readFileSync(join(here, "index.html")),
  "icon.svg": readFileSync(join(here, "icon.svg")),
  "app.css": await bundle("app.css", { loader: { ".css": "css" } }),
  "app.js": await bundle("src/main.ts", { format: "esm", plugins: [lean] }),
};

mkdirSync(out, { recursive: true });
let total = 0;
for (const [name, bytes] of Object.entries(files)) {
  // Not zlib: its output differs between versions of Node and kinds of processors, and is larger.
  const packed = Buffer.from(await zopfli.gzipAsync(bytes, { numiterations: 15 }));
  writeFileSync(join(out, `${name}.gz`), packed);
  total += packed.length;
  console.log(`${name.padEnd(12)} ${String(bytes.length).padStart(7)} ${String(packed.length).padStart(6)} gzip`);
}
// What the licences of the parts ask for; it is installed with the documents, not embedded.
const parts = ["lit", "uplot", "d3-force", "d3-dispatch", "d3-quadtree", "d3-timer"];
writeFileSync(join(out, "licenses.txt"), "The page contains parts of these packages.\n" + parts.map((name) => {
  const { version } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
  return `\n--- ${name} ${version}\n\n${readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8").trim()}\n`;
}).join(""));
console.log(`${"in all".padEnd(12)} ${String(total).padStart(14)} of ${budget}`);
if (total > budget) {
  console.error(`the page is ${total - budget} bytes over its budget; leave something out, then run \`make web\` again`);
  process.exit(1);
}
