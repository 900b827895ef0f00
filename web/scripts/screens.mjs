// Pictures of the page for docs/page/, taken from a real server with narthex-nano: node web/scripts/screens.mjs

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { answered, ask, attach, browse, PANEL, QUESTION, reader, ROOT, Server } from "../tests/helpers.mjs";

const folder = join(ROOT, "docs/page");
mkdirSync(folder, { recursive: true });
const server = await new Server().start();
const browser = await browse();
const settled = (page) => page.waitForFunction(() => !document.querySelector(".picture-wait")).then(() => page.waitForTimeout(400));
const shoot = async (page, name) => {
  await page.mouse.move(2, 2);
  await page.evaluate(() => document.activeElement?.blur());
  await settled(page);
  await page.screenshot({ path: join(folder, `${name}.png`) });
};

async function tour(look, colorScheme) {
  const page = await reader(browser, server, { colorScheme, viewport: { width: 1280, height: 900 } });
  await page.locator(".modes input[value=thinking]").check();
  await attach(page, PANEL);
  await page.fill("#question", QUESTION);
  await shoot(page, `welcome-${look}`);
  await page.locator(".composer .send").click();
  const answer = await answered(page);
  await answer.locator(".look-card").first().hover();
  await settled(page);
  await page.screenshot({ path: join(folder, `thinking-${look}.png`) });
  await answer.getByRole("button", { name: "See inside" }).click();
  await page.getByRole("button", { name: "Reply 1" }).click();
  await page.locator(".token[aria-selected=true]").waitFor();
  await settled(page);
  await page.screenshot({ path: join(folder, `inside-${look}.png`) });
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  await page.goto(`${server.url}/#/`);
  await ask(page, QUESTION, { mode: "contemplating", picture: true });
  await answered(page);
  await page.locator(".viewport").evaluate((box) => { box.scrollTop = box.scrollHeight; });
  await shoot(page, `contemplating-${look}`);
  await page.getByRole("link", { name: "Keys and usage" }).click();
  await page.locator(".chart").waitFor();
  await shoot(page, `usage-${look}`);
  await page.context().close();
}

async function phone(look, colorScheme, language) {
  const page = await reader(browser, server, {
    colorScheme, language, viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true,
  });
  await ask(page, QUESTION, { mode: "thinking", picture: true });
  await answered(page);
  await page.locator(".viewport").evaluate((box) => { box.scrollTop = box.querySelector(".process").offsetTop - 70; });
  await shoot(page, `phone-${look}`);
  await page.context().close();
}

try {
  await tour("light", "light");
  await tour("dark", "dark");
  await phone("light", "light", "en");
  await phone("dark", "dark", "uk");
} finally {
  await browser.close();
  await server.remove();
}
