// A real server with narthex-nano in a home of its own, and a real browser.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const PANEL = join(ROOT, "examples/panel.png");
export const QUESTION = "What does gauge C read?";
// For a condition to come true on a slow, busy machine; nothing here asserts that something is fast.
export const PATIENCE_MS = 60_000;

const PYTHON = process.env.NARTHEX_PYTHON ?? join(ROOT, ".venv/bin/python");
const BROWSERS = [process.env.NARTHEX_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export class Server {
  constructor(home) {
    this.home = home ?? mkdtempSync(join(tmpdir(), "narthex-page-"));
    this.env = { ...process.env, NARTHEX_HOME: this.home, OMP_NUM_THREADS: "1", NO_COLOR: "1" };
  }

  /** Starts it, on the port it had before where it had one; resolves once it answers. */
  async start() {
    this.process = spawn(PYTHON, ["-m", "narthex.cli", "serve", "--port", String(this.port ?? 0)], { cwd: ROOT, env: this.env });
    let said = "";
    this.url = await new Promise((found, failed) => {
      this.process.stderr.on("data", (data) => {
        said += data;
        const url = /(http:\/\/127\.0\.0\.1:\d+)\/v1/.exec(said);
        if (url) found(url[1]);
      });
      this.process.on("exit", (code) => failed(new Error(`the server ended with ${code}: ${said}`)));
    });
    this.port = Number(new URL(this.url).port);
    return this;
  }

  async stop(signal = "SIGTERM") {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.kill(signal);
    await ended;
  }

  async remove() {
    await this.stop();
    rmSync(this.home, { recursive: true, force: true });
  }

  /** Runs Python or the command line in the same home. */
  python(...args) {
    const done = spawnSync(PYTHON, args, { cwd: ROOT, env: this.env, encoding: "utf8", maxBuffer: 64 * 2 ** 20 });
    if (done.status !== 0) throw new Error(`${args.join(" ").slice(0, 200)}: ${done.stderr}`);
    return done.stdout;
  }

  addUser(name) {
    this.python("-m", "narthex.cli", "users", "add", name);
    return JSON.parse(this.python("-m", "narthex.cli", "keys", "add", name, "--json")).key;
  }

  async api(path, { key, ...init } = {}) {
    return fetch(`${this.url}${path}`, {
      ...init, headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(init.body ? { "content-type": "application/json" } : {}) },
    });
  }
}

export async function browse() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium here; NARTHEX_CHROMIUM may name one");
  return chromium.launch({ executablePath, args: FLAGS });
}

/** A reader: a page of its own, whose complaints (scripts, content policy) fail the test through `complaints`. */
export async function reader(browser, server, { key, language = "en", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: "en-GB", acceptDownloads: true, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  if (key) await context.addInitScript((value) => localStorage.setItem("narthex.key", value), key);
  await context.addInitScript((value) => localStorage.getItem("narthex.language") ?? localStorage.setItem("narthex.language", value), language);
  const page = await context.newPage();
  page.complaints = [];
  page.elsewhere = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    // A browser itself tells of every reply that is an error; whether one should be is for the test to say.
    if (message.type() === "error" && !/Failed to load resource|net::ERR_/.test(message.text())) page.complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("blob:")) page.elsewhere.push(request.url());
  });
  await page.goto(`${server.url}/`);
  return page;
}

export const runningStop = (page) => page.getByRole("button", { name: "Stop", exact: true });

export async function attach(page, path = PANEL) {
  await page.locator("input[type=file]").first().setInputFiles(path);
  await page.locator(".attachment.is-requires-action").waitFor();
}

/** Asks, and waits for the question to stand in the conversation. */
export async function ask(page, text, { mode, picture } = {}) {
  if (mode) await page.locator(`.modes input[value=${mode}]`).check();
  if (picture) await attach(page, picture === true ? PANEL : picture);
  const asked = page.locator(".message.user:not(.is-sending) .bubble");
  const before = await asked.count();
  await page.fill("#question", text);
  await page.locator(".composer .send").click();
  await page.waitForFunction(
    (count) => document.querySelectorAll(".message.user:not(.is-sending) .bubble").length > count, before, { timeout: PATIENCE_MS },
  );
}

/** The last answer, once it is there with what it took. */
export async function answered(page) {
  const last = page.locator(".message.assistant").last();
  await last.locator(".ledger").waitFor();
  return last;
}

/** So long that reading it takes the model seconds; different each time, or it would be remembered. */
export function longQuestion(words = 1350) {
  const names = ["pump", "gauge", "bar", "reads", "valve", "C", "H"];
  return Array.from({ length: words }, () => names[Math.floor(Math.random() * names.length)] + Math.floor(Math.random() * 999)).join(" ");
}

/** Keeps the model busy with others' questions, so that the page's own takes its time; call what it returns to end it. */
export function makeBusy(server, num = 3) {
  const control = new AbortController();
  for (let n = 0; n < num; n++) {
    const body = JSON.stringify({ model: "narthex-nano:thinking", store: false, messages: [{ role: "user", content: longQuestion() }] });
    fetch(`${server.url}/v1/chat/completions`, { method: "POST", body, headers: { "content-type": "application/json" }, signal: control.signal })
      .then((reply) => reply.text()).catch(() => undefined);
  }
  return () => control.abort();
}
