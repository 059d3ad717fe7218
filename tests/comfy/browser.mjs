// node browser.mjs MODULES [URL WORKFLOW PICTURE [SECONDS]]
// Opens ComfyUI's front end, loads a workflow, runs it, takes a picture, and writes what happened as JSON.
// Without a URL it only sees whether the browser starts.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, url, workflow, picture, seconds = '240'] = process.argv.slice(2);
const require = createRequire(path.resolve(modules, 'package.json'));
const { chromium: playwright } = require('playwright-core');
const packed = (await import(require.resolve('@sparticuz/chromium'))).default;
const software = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'];

const browser = await playwright.launch({
  executablePath: process.env.CHROMIUM ?? await packed.executablePath(),
  headless: true,
  args: ['--no-sandbox', '--disable-dev-shm-usage', ...software],
});
if (url === undefined) {
  process.stdout.write(browser.version());
  await browser.close();
  process.exit();
}
const page = await browser.newPage({ viewport: { width: 1900, height: 1000 } });
const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
try {
  await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 120_000 });
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager, null, { timeout: 150_000 });
  await page.waitForTimeout(2000);
  await page.evaluate(async (saved) => {
    window.outcome = null;
    for (const end of ['execution_success', 'execution_error', 'execution_interrupted']) {
      window.app.api.addEventListener(end, (event) => { window.outcome ??= { end, detail: event.detail }; });
    }
    await window.app.loadGraphData(saved);
  }, JSON.parse(fs.readFileSync(workflow)));
  await page.waitForTimeout(1500);
  await page.keyboard.press('Escape'); // the template browser that greets newcomers
  const prompt = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
  await page.evaluate(async () => { await window.app.queuePrompt(0, 1); });
  await page.waitForFunction(() => window.outcome !== null, null, { timeout: 1000 * Number(seconds) });
  await page.evaluate(() => {
    const canvas = window.app.canvas;
    const boxes = window.app.graph._nodes.map((node) => node.getBounding());
    const left = Math.min(...boxes.map((box) => box[0])), top = Math.min(...boxes.map((box) => box[1]));
    const right = Math.max(...boxes.map((box) => box[0] + box[2]));
    const bottom = Math.max(...boxes.map((box) => box[1] + box[3]));
    const scale = Math.min(1780 / (right - left + 80), 900 / (bottom - top + 160));
    canvas.ds.scale = scale;
    canvas.ds.offset = [90 / scale - left, 110 / scale - top + 40];
    canvas.setDirty(true, true);
  });
  await page.waitForTimeout(4000);
  await page.screenshot({ path: picture });
  const nodes = await page.evaluate(() => window.app.graph._nodes.map((node) => ({
    type: node.type,
    pictures: node.imgs?.length ?? 0,
    height: node.size[1],
    shown: (node.widgets ?? []).filter((field) => !field.hidden).map((field) => field.name),
    hidden: (node.widgets ?? []).filter((field) => field.hidden).map((field) => field.value),
  })));
  const outcome = await page.evaluate(() => window.outcome);
  process.stdout.write(JSON.stringify({ version: browser.version(), outcome, prompt, nodes, errors }));
} finally {
  await browser.close();
}
