// SPDX-License-Identifier: MIT
// Debian's Chromium, driven by playwright-core: its only importer. Whoever looks at the
// status page looks by way of a Viewer, which remembers all that a page has complained of
// and whom it has asked for anything.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';

import { atExit } from '../helpers/cleanup.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import type { Target } from '../helpers/psql.js';

export type { Browser } from 'playwright-core';

/** What was seen, to be looked at by people. */
export const SCREENSHOTS = join(PROJECT_ROOT, 'build/screenshots');

const PROGRAM = '/usr/bin/chromium';
/** Far above what the page needs to follow, which is two seconds. */
const PATIENCE_MS = 20_000;

export const LOOKS = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: 'light', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  /** As few pixels as anybody has. */
  narrow: { colorScheme: 'light', viewport: { width: 320, height: 640 } },
  'without-javascript': { colorScheme: 'light', viewport: { width: 1280, height: 900 }, javaScriptEnabled: false },
} as const satisfies Readonly<Record<string, BrowserContextOptions>>;

export type Look = keyof typeof LOOKS;

export async function startBrowser(): Promise<Browser> {
  // Root has no sandbox in Chromium.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const browser = await chromium.launch({ executablePath: PROGRAM, args });
  const forget = atExit({ close: () => browser.close(), closeNow: () => undefined });
  browser.on('disconnected', forget);
  return browser;
}

export class Viewer {
  readonly look: Look;
  readonly page: Page;
  /** Errors and warnings of its console, and scripts that failed. */
  readonly complaints: string[] = [];
  /** Whatever it has asked for. */
  readonly requests = new Set<string>();

  private constructor(look: Look, page: Page) {
    this.look = look;
    this.page = page;
  }

  static async open(browser: Browser, { host, port }: Target, look: Look): Promise<Viewer> {
    const context = await browser.newContext(LOOKS[look]);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const viewer = new Viewer(look, page);
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) viewer.complaints.push(message.text());
    });
    page.on('pageerror', (error) => viewer.complaints.push(error.message));
    page.on('request', (request) => viewer.requests.add(request.url()));
    await page.goto(`http://${host}:${port}/`);
    return viewer;
  }

  /** Waits until the verdict has these words. */
  async verdict(words: string): Promise<void> {
    await this.page.locator('#verdict h1', { hasText: words }).waitFor();
  }

  locate(selector: string, text?: string): Locator {
    return this.page.locator(selector, text === undefined ? {} : { hasText: text });
  }

  /** The accessibility tree below an element, as Playwright writes it: a line for each. */
  tree(selector: string): Promise<string> {
    return this.page.locator(selector).ariaSnapshot();
  }

  /** When the picture was taken. */
  async pictureAt(): Promise<string | null> {
    return this.page.locator('.asof time').getAttribute('datetime');
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}-${this.look}.png`), fullPage: true });
  }

  /** How many pixels stick out at the side. */
  async overhang(): Promise<number> {
    return this.page.evaluate('document.documentElement.scrollWidth - innerWidth');
  }
}
