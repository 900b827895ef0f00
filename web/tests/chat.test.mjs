// Asking, watching, and everything a reader can do with a conversation; narthex-nano answers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { answered, ask, browse, makeBusy, longQuestion, QUESTION, reader, runningStop, Server } from "./helpers.mjs";

let server, browser, page;
before(async () => {
  [server, browser] = await Promise.all([new Server().start(), browse()]);
});
beforeEach(async () => {
  page = await reader(browser, server);
});
afterEach(async () => {
  const { complaints, elsewhere } = page;
  await page.context().close();
  assert.deepEqual(complaints, [], "the page complained");
  assert.deepEqual(elsewhere, [], "the page asked somebody else");
});
after(async () => {
  await browser?.close();
  await server?.remove();
});

test("Instant answers a question with a picture, without a thought", async () => {
  await ask(page, QUESTION, { mode: "instant", picture: true });
  const answer = await answered(page);
  assert.match(await answer.locator(".prose").innerText(), /\d/);
  assert.match(await answer.locator(".process-head").innerText(), /Answered in/);
  assert.equal(await answer.locator(".looks").count(), 0);
  await page.locator(".message.user img").waitFor();
});

test("Thinking shows its thought, draws its look on the picture, and lights up what belongs together", async () => {
  await ask(page, QUESTION, { mode: "thinking", picture: true });
  const answer = await answered(page);
  await answer.locator(".looks-picture img").waitFor();
  const box = answer.locator(".place").first();
  const [frame, place] = [await answer.locator(".looks-picture img").first().boundingBox(), await box.boundingBox()];
  assert.ok(place.x >= frame.x - 1 && place.x + place.width <= frame.x + frame.width + 1, "the box lies on the picture");
  assert.ok(place.width < frame.width && place.height < frame.height);
  const card = answer.locator(".look-card").first();
  await card.locator("img").waitFor();
  await card.hover();
  await answer.locator(".place.hot").waitFor();
  await page.mouse.move(0, 0);
  await answer.locator(".place.hot").waitFor({ state: "detached" });
  await box.hover();
  await answer.locator(".look-card.hot").waitFor();
  await answer.locator(".thought.hot").first().waitFor();
  assert.match(await answer.locator(".ledger").innerText(), /1 look.*thought.*answer/s);
  // It folds away, and comes back.
  await answer.locator(".process-head").click();
  await answer.locator(".look-card").first().waitFor({ state: "detached" });
  await answer.locator(".process-head").click();
  await answer.locator(".look-card").first().waitFor();
});

test("Contemplating shows who answers what, who agrees, and each agent's own steps", async () => {
  await ask(page, QUESTION, { mode: "contemplating", picture: true });
  const answer = await answered(page);
  const rows = answer.locator(".agent");
  assert.ok((await rows.count()) >= 4);
  assert.match(await answer.locator(".agreement").innerText(), /agents? agree/);
  assert.match(await answer.locator(".agreement-note").innerText(), /\d+\s?%/);
  // The board says of every agent what became of it, and counts those it says agree.
  const leading = Number(/(\d+) agents? agree|(\d+) agent/.exec(await answer.locator(".camps li").first().innerText()).slice(1).find(Boolean));
  assert.equal(await answer.locator(".agent-mark .camp-0").count(), leading);
  assert.equal(await answer.locator(".agent-answering, .agent-thinking, .agent-starting").count(), 0);
  await answer.locator(".place").first().waitFor();
  await rows.first().locator(".agent-row").click();
  await rows.first().locator(".look-card").first().waitFor();
  await answer.locator(".ledger summary").click();
  assert.ok((await answer.locator(".ledger tbody tr").count()) >= 5, "a line for each agent, and the sum");
});

test("an answer is tried again, and a question edited; both versions stay and can be turned between", async () => {
  await ask(page, QUESTION, { mode: "thinking", picture: true });
  let answer = await answered(page);
  await answer.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("group", { name: "Version 2 of 2" }).waitFor();
  answer = await answered(page);
  await page.getByRole("button", { name: "Previous version" }).click();
  await page.getByRole("group", { name: "Version 1 of 2" }).waitFor();
  // Editing makes a third, which has another question; the picture comes along.
  await page.locator(".message.user").hover();
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await page.getByLabel("Edit your question").fill("What does gauge B read?");
  await page.locator(".edit").getByRole("button", { name: "Ask" }).click();
  await page.getByRole("group", { name: "Version 3 of 3" }).waitFor();
  await answered(page);
  assert.equal(await page.locator(".message.user .bubble").innerText(), "What does gauge B read?");
  await page.locator(".message.user img").waitFor();
  // And the conversation goes on from the branch that is shown.
  await ask(page, "And gauge Z?");
  await answered(page);
  assert.equal(await page.locator(".message.user").count(), 2);
  await page.getByRole("button", { name: "Previous version" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".message.user").length === 1);
});

test("a run is stopped", async () => {
  const quiet = makeBusy(server);
  try {
    await ask(page, longQuestion(), { mode: "thinking" });
    await runningStop(page).click();
    await page.getByText("This answer was stopped.").waitFor();
    await page.getByRole("button", { name: "Send", exact: true }).waitFor();
  } finally {
    quiet();
  }
});

test("a run is found again after a reload, and ends", async () => {
  const quiet = makeBusy(server);
  try {
    await ask(page, longQuestion(), { mode: "thinking" });
    await runningStop(page).waitFor();
    await page.reload();
    await runningStop(page).waitFor();
  } finally {
    quiet();
  }
  await answered(page);
  await page.getByRole("button", { name: "Send", exact: true }).waitFor();
});

test("conversations are found, renamed, taken along and deleted for good", async () => {
  await ask(page, "What can you do?", { mode: "instant" });
  await answered(page);
  const entry = page.locator(".entry.is-open");
  await entry.hover();
  const choose = async (name) => {
    await page.getByRole("button", { name: "Options of this conversation", exact: true }).click();
    await page.getByRole("menuitem", { name }).click();
  };
  await choose("Rename");
  await page.getByLabel("Title").fill("Boiler room four");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".entry.is-open", { hasText: "Boiler room four" }).waitFor();
  const all = await page.locator(".entry").count();
  assert.ok(all > 1);
  await page.getByLabel("Search conversations").fill("room four");
  await page.waitForFunction(() => document.querySelectorAll(".entry").length === 1);
  await page.getByLabel("Search conversations").fill("nowhere to be found");
  await page.getByText("Nothing found").waitFor();
  await page.getByLabel("Search conversations").fill("");
  await page.waitForFunction((count) => document.querySelectorAll(".entry").length === count, all);
  for (const [name, pattern] of [["Export as Markdown", /What can you do\?/], ["Export as JSON", /"turns"/]]) {
    const [download] = await Promise.all([page.waitForEvent("download"), choose(name)]);
    assert.match(download.suggestedFilename(), /^Boiler room four\.(md|json)$/);
    assert.match(readFileSync(await download.path(), "utf8"), pattern);
  }
  const id = decodeURIComponent(page.url().split("#/c/")[1]);
  await choose("Delete");
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.getByRole("heading", { name: "What shall we look at?" }).waitFor();
  await page.waitForFunction((count) => document.querySelectorAll(".entry").length === count - 1, all);
  assert.equal((await server.api(`/api/conversations/${id}`)).status, 404);
});

test("the page speaks five languages, and remembers which", async () => {
  const greetings = { ru: "На что посмотрим?", uk: "На що подивимося?", pt: "O que vamos ver?", zh: "我们来看什么？" };
  for (const [language, greeting] of Object.entries(greetings)) {
    await page.locator(".settings select").first().selectOption(language);
    await page.getByRole("heading", { name: greeting }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), language);
  }
  await page.reload();
  await page.getByRole("heading", { name: greetings.zh }).waitFor();
  assert.match(await page.locator(".fine").innerText(), /不是医疗器械/);
});

test("a question about health gets the sentence that it should", async () => {
  await ask(page, "Is this rash a symptom of measles?", { mode: "instant" });
  await page.locator(".health", { hasText: "not a medical device" }).waitFor();
  await ask(page, "What does gauge C read?", { mode: "instant" });
  await answered(page);
  assert.equal(await page.locator(".health").count(), 1);
});

test("pictures come by paste and by drop, too", async () => {
  const give = (how) => page.evaluate(async (kind) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 40 });
    const blob = await new Promise((done) => canvas.toBlob(done));
    const data = new DataTransfer();
    data.items.add(new File([blob], `${kind}.png`, { type: "image/png" }));
    const target = document.querySelector("#question");
    if (kind === "paste") target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    else for (const name of ["dragenter", "dragover", "drop"]) target.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
  }, how);
  await page.locator("#question").waitFor();
  await give("paste");
  await page.locator(".attachment.is-requires-action").waitFor();
  await give("drop");
  await page.waitForFunction(() => document.querySelectorAll(".attachment.is-requires-action").length === 2);
  await page.getByRole("button", { name: /Remove paste.png/ }).click();
  await page.waitForFunction(() => document.querySelectorAll(".attachment").length === 1);
});

test("one can see inside: likelihoods, experts, and where it looked", async () => {
  await ask(page, QUESTION, { mode: "thinking", picture: true });
  const answer = await answered(page);
  await answer.getByRole("button", { name: "See inside" }).click();
  await page.locator(".token").first().waitFor();
  await page.getByRole("button", { name: "Reply 1" }).click();
  await page.locator(".token", { hasText: "zoom" }).hover();
  await page.locator(".token[aria-selected=true]", { hasText: "zoom" }).waitFor();
  assert.ok((await page.locator(".alternatives li").count()) > 1);
  assert.equal(await page.locator(".experts i.is-on").count(), 2);
  assert.equal(await page.locator(".heat-grid rect").count(), 36);
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
});
