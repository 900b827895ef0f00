// How the page looks and behaves: nothing that keeps people out (axe), nothing that jumps, nothing that runs or is
// fetched from what a model wrote, a thousand messages, narrow screens.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { answered, ask, browse, QUESTION, reader, Server } from "./helpers.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server, browser, homes;
before(async () => {
  server = new Server();
  homes = JSON.parse(server.python("web/tests/seed.py"));
  [, browser] = await Promise.all([server.start(), browse()]);
});
after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Serious findings of axe, each with where it is. */
async function findings(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations
    .filter((one) => one.impact === "serious" || one.impact === "critical")
    .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(" ")} ${node.failureSummary ?? ""}`));
}

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious in any view, ${colorScheme}`, async () => {
    const page = await reader(browser, server, { colorScheme });
    const check = async (view) => assert.deepEqual(await findings(page), [], view);
    await page.locator("#question").waitFor();
    await check("welcome");
    await ask(page, QUESTION, { mode: "thinking", picture: true });
    const answer = await answered(page);
    await answer.locator(".place").first().waitFor();
    await answer.locator(".ledger summary").click();
    await check("thinking");
    await ask(page, QUESTION, { mode: "contemplating" });
    await (await answered(page)).locator(".agent-row").first().click();
    await check("contemplating");
    await answer.getByRole("button", { name: "See inside" }).click();
    await page.locator(".experts").first().waitFor();
    await check("inside");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Options of this conversation", exact: true }).click();
    await check("menu");
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await check("dialog");
    await page.keyboard.press("Escape");
    await page.getByRole("link", { name: "Keys and usage" }).click();
    await page.locator(".chart").waitFor();
    await check("account");
    await page.goto(`${server.url}/#/c/${homes.markdown}`);
    await page.locator(".katex").first().waitFor();
    await check("markdown");
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });
}

test("what a model wrote is shown, and neither run nor fetched", async () => {
  const page = await reader(browser, server);
  await page.goto(`${server.url}/#/c/${homes.markdown}`);
  await page.locator(".katex").first().waitFor();
  const prose = page.locator(".message.assistant .prose");
  assert.equal(await prose.locator("img, script, b").count(), 0);
  assert.equal(await prose.locator("td strong").innerText(), "33");
  assert.equal(await prose.locator("pre code.language-python").count(), 1);
  assert.ok((await prose.locator(".katex-display").count()) >= 1);
  assert.match(await prose.locator(".no-picture").first().innerText(), /not fetched: a chart/);
  const links = await prose.locator("a").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
  assert.deepEqual(links.filter((href) => href?.startsWith("https:")), ["https://example.org/"]);
  assert.ok(links.every((href) => !href?.startsWith("javascript:")));
  assert.equal(await page.evaluate(() => window.wasRun), undefined);
  assert.deepEqual(page.elsewhere, []);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("while an answer streams, nothing that is read jumps", async () => {
  const page = await reader(browser, server);
  // Once something can be read, its place within its message stays: the answer's own, and each agent's line on the board.
  await page.addInitScript(() => {
    window.places = {};
    const note = (name, element, frame) => {
      if (!element || !frame || !element.textContent.trim()) return;
      const top = Math.round(element.getBoundingClientRect().top - frame.getBoundingClientRect().top);
      (window.places[name] ??= new Set()).add(top);
    };
    const look = () => {
      document.querySelectorAll(".message.assistant").forEach((message, turn) => {
        note(`answer ${turn}`, message.querySelector(".answer .prose"), message);
        // The picture stays in view while one scrolls; its size is what must not change.
        const sight = message.querySelector(".looks");
        if (sight) (window.places[`picture ${turn}`] ??= new Set()).add(Math.round(sight.getBoundingClientRect().height));
        const side = message.querySelector(".board-side");
        message.querySelectorAll(".agent").forEach((row, number) => note(`agent ${turn}.${number}`, row, side));
      });
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  await page.reload();
  for (const mode of ["instant", "thinking", "contemplating"]) {
    await ask(page, QUESTION, { mode, picture: true });
    await answered(page);
  }
  const places = await page.evaluate(() => Object.entries(window.places).map(([name, tops]) => [name, [...tops]]));
  assert.deepEqual(places.filter(([, tops]) => tops.length > 1), []);
  for (const name of ["answer 0", "answer 1", "answer 2", "picture 1", "picture 2", "agent 2.0", "agent 2.3"]) {
    assert.ok(places.some(([found]) => found === name), `${name} was seen`);
  }
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("a conversation of a thousand messages opens at its end, draws only what is near, and scrolls to its beginning", async (t) => {
  const page = await reader(browser, server);
  await page.goto(`${server.url}/#/c/${homes.long}`);
  await page.getByText("Question 499:").waitFor();
  await page.waitForFunction(() => {
    const box = document.querySelector(".viewport");
    return box.scrollHeight - box.scrollTop - box.clientHeight < 200;
  });
  assert.equal(await page.locator(".message").count(), 1000);
  assert.ok((await page.locator(".prose:not(.plain)").count()) < 100, "Markdown is made for what is near alone");
  // Work of the page's own thread, so that a busy machine does not change it.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const work = async () => (await devtools.send("Performance.getMetrics")).metrics.find((one) => one.name === "TaskDuration").value;
  const before = await work();
  await page.locator(".viewport").evaluate(async (box) => {
    for (let step = 0; step < 60; step++) {
      box.scrollTop -= 400;
      await new Promise(requestAnimationFrame);
    }
  });
  t.diagnostic(`work for each of 60 steps of 400 px: ${((1000 * ((await work()) - before)) / 60).toFixed(1)} ms`);
  await page.locator(".viewport").evaluate((box) => { box.scrollTop = 0; });
  await page.getByText("Question 0:").waitFor();
  await page.waitForFunction(() => document.querySelector(".message.assistant .prose:not(.plain) strong"));
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("on a phone nothing is wider than the screen, and the menu opens and closes", async () => {
  const page = await reader(browser, server, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector(".viewport").scrollWidth <= innerWidth);
  await page.locator("#question").waitFor();
  assert.ok(await fits());
  for (const mode of ["thinking", "contemplating"]) {
    await ask(page, QUESTION, { mode, picture: true });
    await (await answered(page)).locator(".place").first().waitFor();
    assert.ok(await fits(), mode);
  }
  await page.getByRole("button", { name: "Menu", exact: true }).click();
  await page.getByLabel("Search conversations").waitFor({ state: "visible" });
  await page.getByRole("button", { name: "Close the menu" }).click();
  await page.getByLabel("Search conversations").waitFor({ state: "hidden" });
  await page.context().close();
});

test("everything can be done by keyboard", async () => {
  const page = await reader(browser, server);
  await page.locator("#question").waitFor();
  await page.keyboard.press("Control+k");
  await page.waitForFunction(() => document.activeElement?.id === "search");
  await page.keyboard.press("Control+Shift+o");
  await page.waitForFunction(() => document.activeElement?.id === "question");
  await page.keyboard.type("What can you do?");
  await page.locator(".modes input[value=instant]").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.locator(".modes input:checked").inputValue(), "thinking");
  await page.locator("#question").focus();
  await page.keyboard.press("Enter");
  await answered(page);
  await page.locator(".ledger summary").focus();
  await page.keyboard.press("Enter");
  await page.locator(".ledger[open] table").waitFor();
  await page.getByRole("button", { name: "Options of this conversation", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.textContent === "Rename");
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() => document.activeElement?.textContent === "Export as Markdown");
  await page.keyboard.press("Escape");
  await page.locator("[role=menu]").waitFor({ state: "detached" });
  await page.context().close();
});
