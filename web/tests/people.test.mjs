// Several readers of one server, and a server that goes and comes back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { answered, ask, browse, longQuestion, makeBusy, QUESTION, reader, runningStop, Server } from "./helpers.mjs";

let browser;
before(async () => {
  browser = await browse();
});
after(async () => browser?.close());

test("two users cannot see each other; keys are made, shown once and deleted; usage is told", async () => {
  const server = new Server();
  const [ada, bo] = [server.addUser("ada"), server.addUser("bo")];
  await server.start();
  try {
    const hers = await reader(browser, server, { key: ada });
    await ask(hers, QUESTION, { mode: "thinking", picture: true });
    await answered(hers);
    const address = hers.url();
    const his = await reader(browser, server);
    await his.getByRole("heading", { name: "This server wants a key" }).waitFor();
    await his.getByLabel("Key", { exact: true }).fill("nx_wrong");
    await his.getByRole("button", { name: "Come in" }).click();
    await his.getByRole("alert").waitFor();
    await his.getByLabel("Key", { exact: true }).fill(bo);
    await his.getByRole("button", { name: "Come in" }).click();
    await his.getByText("Your conversations will be here").waitFor();
    await his.goto(address);
    await his.reload();
    await his.getByRole("heading", { name: "What shall we look at?" }).waitFor();
    assert.equal(await his.locator(".entry").count(), 0);
    assert.equal(await his.getByText(QUESTION).count(), 0);
    const conversation = decodeURIComponent(address.split("#/c/")[1]);
    const { turns } = await (await server.api(`/api/conversations/${conversation}`, { key: ada })).json();
    const picture = turns[0].asked[0].parts.find((part) => part.type === "image").sha256;
    const run = turns[0].run_id;
    const inside = { method: "POST", body: JSON.stringify({ run_id: run, agent_id: "agent-0", turn: 0 }) };
    for (const [path, init] of [[`/api/conversations/${conversation}`], [`/api/runs/${run}/events`], [`/api/pictures/${picture}`], ["/api/inside", inside]]) {
      assert.equal((await server.api(path, { ...init, key: bo })).status, 404, path);
      assert.equal((await server.api(path, { ...init, key: ada })).status, 200, path);
    }
    await hers.getByRole("link", { name: "Keys and usage" }).click();
    await hers.getByText("You are ada").waitFor();
    await hers.locator(".chart").waitFor();
    await hers.getByPlaceholder("What it is for").fill("notebook");
    await hers.getByRole("button", { name: "Make a key" }).click();
    const made = await hers.locator(".made code").innerText();
    assert.equal((await server.api("/api/me", { key: made })).status, 200);
    await hers.getByRole("button", { name: "Delete key notebook" }).click();
    await hers.getByRole("button", { name: "Delete key notebook" }).waitFor({ state: "detached" });
    assert.equal((await server.api("/api/me", { key: made })).status, 401);
    assert.deepEqual([...hers.complaints, ...his.complaints], []);
  } finally {
    await server.remove();
  }
});

test("a server that dies under the page comes back; what was under way is marked, and one asks on", async () => {
  const server = await new Server().start();
  try {
    const page = await reader(browser, server);
    await ask(page, QUESTION, { mode: "thinking", picture: true });
    await answered(page);
    makeBusy(server);
    await ask(page, longQuestion());
    await runningStop(page).waitFor();
    await server.stop("SIGKILL");
    await page.getByRole("alert").filter({ hasText: "cannot be reached" }).waitFor();
    await server.start();
    await page.getByText("This answer was stopped.").waitFor();
    await page.getByRole("alert").waitFor({ state: "detached" });
    assert.equal(await page.locator(".message.user").count(), 2);
    await ask(page, QUESTION);
    await answered(page);
    assert.equal(await page.locator(".message.assistant").count(), 3);
    assert.deepEqual(page.complaints, []);
  } finally {
    await server.remove();
  }
});
