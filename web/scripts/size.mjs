// How much compressed script a reader fetches: for the chat view at once, and with formulas.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const LIMIT_KB = 350;
const folder = join(dirname(fileURLToPath(import.meta.url)), "../../narthex/serve/dist");
const kilobytes = (path) => gzipSync(readFileSync(join(folder, path)), { level: 9 }).length / 1000;

const page = readFileSync(join(folder, "index.html"), "utf8");
const first = [...page.matchAll(/<script[^>]*\ssrc="\.\/([^"]+)"/g), ...page.matchAll(/<link[^>]*rel="modulepreload"[^>]*href="\.\/([^"]+)"/g)].map((found) => found[1]);
if (!first.length) throw new Error("index.html names no script");
const later = readdirSync(join(folder, "assets")).filter((name) => name.endsWith(".js") && !first.includes(`assets/${name}`));
const sum = first.reduce((total, path) => total + kilobytes(path), 0);
for (const path of [...first, ...later.map((name) => `assets/${name}`)]) console.log(`${kilobytes(path).toFixed(1).padStart(7)} KB  ${path}${first.includes(path) ? "" : "  (when needed)"}`);
console.log(`${sum.toFixed(1).padStart(7)} KB  first load, limit ${LIMIT_KB}`);
if (sum > LIMIT_KB) process.exit(1);
