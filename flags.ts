#!/usr/bin/env bun
// SPDX-License-Identifier: MIT-0
/**
 * Downloads country flags, one after the other. This is `flags.py`, Example
 * 20-2 of _Fluent Python_ (2nd edition, by Luciano Ramalho), in TypeScript.
 *
 * ```console
 * $ bun flags.ts --demo
 * BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN
 * 20 downloads in 2.01s
 * ```
 *
 * `--demo` makes up the flags and needs no network. Without it, they come from
 * the book's web site. Other scripts import this file and give `main` another
 * function to call. Save these lines beside this file as `concurrent.ts`, and
 * `bun concurrent.ts --demo` gets all flags at once, in about 0.15 s:
 *
 * ```ts
 * import { downloadOne, main } from "./flags.ts";
 * await main(async (codes, options) => {
 *   const downloads = codes.map((cc) => downloadOne(cc, options));
 *   const saved = await Promise.all(downloads); // a boolean for each flag
 *   return saved.filter(Boolean).length; // how many are true
 * });
 * ```
 *
 * Short of time? Read the book's functions below, and then only `main`.
 */
import * as fs from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

/** The book's 20 most populous countries: ISO 3166 codes, in upper case. */
export const POP20_CC: readonly string[] = Object.freeze(
  "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR".split(" "),
);
/** Where the flags are: on the book's web site. */
export const BASE_URL = "https://www.fluentpython.com/data/flags";
/** Where they go: a folder in the working directory. */
export const DEST_DIR = "downloaded";
/** Milliseconds for a whole flag, to its last byte: 6.1 s, as in the book. */
export const TIMEOUT_MS = 6100;

/**
 * Where flags come from, where they go, and how long each may take. All three
 * are required: else, a script that forgot them would ask the book's site.
 */
export interface DownloadOptions {
  baseUrl: string; // what stands before /br/br.gif in a URL
  destDir: string; // a folder, made if needed
  timeoutMs: number; // milliseconds for a whole flag
}

/** The command line's defaults, also for scripts that do not call `main`. */
export const DEFAULTS: Readonly<DownloadOptions> = Object.freeze({
  baseUrl: BASE_URL,
  destDir: DEST_DIR,
  timeoutMs: TIMEOUT_MS,
});

/**
 * What {@link main} calls and times. It gets a sorted copy of the codes, shows
 * each flag as {@link downloadOne} does, and returns how many were saved.
 */
export type Downloader = (
  codes: string[],
  options: DownloadOptions,
) => Promise<number>;

// ---- The book's functions ----
/**
 * Saves an image in `destDir`, in the place of an older file of that name.
 *
 * @throws Error, such as "ENOSPC saving downloaded/BR.gif", with the error of
 * the file system as `cause`. RangeError if `filename` is no plain file name.
 */
export async function saveFlag(
  image: Uint8Array,
  filename: string,
  { destDir }: DownloadOptions,
): Promise<void> {
  await replaceFile(destDir, filename, image);
}

/**
 * Gets the flag at `{baseUrl}/{cc}/{cc}.gif`, with `cc` in lower case.
 *
 * @throws RangeError, before any request, if `cc` is not two letters A to Z.
 * @throws what `fetch` throws: if time is up, an error whose `name` is
 * "TimeoutError"; if the network fails, a `TypeError` with `code` and `path`.
 * @throws Error if the answer is no flag. Its `cause` is the `Response`, with a
 * `status` such as 404, or 200 for an incomplete GIF.
 */
export async function getFlag(
  cc: string,
  { baseUrl, timeoutMs }: DownloadOptions,
): Promise<Uint8Array> {
  checkCode(cc);
  const path = `${cc}/${cc}.gif`.toLowerCase();
  // Without a limit, a silent server could hold the script up for minutes.
  const signal = AbortSignal.timeout(timeoutMs);
  // `fetch` is built in, so no library is needed, and it follows redirects.
  const response = await fetch(`${baseUrl}/${path}`, { signal });
  // To `fetch`, a 404 is an answer like any other. Here it becomes a failure.
  const { ok, status, statusText } = response;
  if (!ok) throw badAnswer(response, `HTTP ${status} ${statusText}`);
  const image = await response.bytes();
  if (!isCompleteGif(image)) throw badAnswer(response, "not a complete GIF");
  return image;
}

/**
 * Gets a flag, saves it as `${cc}.gif`, shows `cc`, and returns true. A failure
 * is shown, too, and returns false. The code should be in upper case.
 *
 * @param get gets and checks the image: {@link getFlag}, or what calls it.
 * @throws mistakes in a script: any ReferenceError, a TypeError without `path`.
 */
export async function downloadOne(
  cc: string,
  options: DownloadOptions,
  get: typeof getFlag = getFlag,
): Promise<boolean> {
  running++; // so that main can tell that an await is missing
  try {
    const image = await get(cc, options);
    await saveFlag(image, `${cc}.gif`, options);
    showCode(cc);
    return true;
  } catch (error) {
    if (isMistake(error)) throw error;
    showFailure(cc, error);
    return false;
  } finally {
    running--;
  }
}

/**
 * Calls {@link downloadOne} for one code after the other, alphabetically, and
 * returns how many flags were saved. Concurrent scripts replace this function.
 */
export async function downloadMany(
  codes: readonly string[],
  options: DownloadOptions,
  get?: typeof getFlag,
): Promise<number> {
  let count = 0;
  // The codes are sorted so that the output shows whether the order was kept.
  for (const cc of [...codes].sort()) {
    // Here is what takes so long: each flag waits for the one before.
    if (await downloadOne(cc, options, get)) count++;
  }
  return count;
}

// ---- Checking and saving ----
function check(holds: boolean, rule: string): void {
  if (!holds) throw new RangeError(rule);
}
/** In a URL, a code such as "../x" would lead elsewhere. */
function checkCode(cc: string): void {
  check(/^[a-z]{2}$/i.test(cc), `not a two-letter country code: "${cc}"`);
}

function badAnswer(response: Response, why: string): Error {
  return new Error(`${why.trimEnd()}: ${response.url}`, { cause: response });
}

/** Rejects other files, such as a login page, and GIFs that are cut off. */
function isCompleteGif(image: Uint8Array): boolean {
  const startsAsGif = Buffer.from("GIF8").equals(image.subarray(0, 4));
  return startsAsGif && image.at(-1) === 0x3b; // the byte that ends a GIF
}

/** A mistake in a script is no failed download: its author needs the trace. */
function isMistake(error: unknown): boolean {
  // If the network fails, `fetch` throws a TypeError, whose `path` is the URL.
  if (error instanceof TypeError) return !("path" in error);
  return error instanceof ReferenceError;
}

/** Writes a file as a whole or not at all, and makes its folder if needed. */
async function replaceFile(folder: string, name: string, bytes: Uint8Array) {
  const isBytes = bytes instanceof Uint8Array; // a promise is not
  if (!isBytes) throw new TypeError("no bytes to save: is an await missing?");
  // A path could lead out of the folder, and "", "." and ".." are folders.
  check(/^[^/\\]*[^/\\.]$/.test(name), `not the name of a file: "${name}"`);
  const path = join(folder, name);
  // On a full disk, writing to `path` itself would destroy an older file. The
  // name is random because several scripts may save the same flag at once.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Bun.write(temporary, bytes);
    fs.renameSync(temporary, path); // quicker than an awaited one
  } catch (error) {
    await fs.promises.rm(temporary).catch(() => {}); // if there is one
    throw new Error(`${Object(error).code} saving ${path}`, { cause: error });
  }
}

// ---- Showing ----
let running = 0; // downloads that have not ended
let lineIsOpen = false; // true after a code, as the next one shares its line

/** Shows that a flag was saved: the book's `print(cc, end=' ', flush=True)`. */
export function showCode(cc: string): void {
  print(`${cc} `);
  lineIsOpen = true;
}

/** Shows why a flag was not saved, or is tried again, on standard error. */
export function showFailure(cc: string, error: unknown): void {
  endLine();
  console.error(`${cc}: ${explain(error)}`);
}

function endLine(): void {
  if (lineIsOpen) print("\n");
  lineIsOpen = false;
}

function print(text: string): void {
  try {
    fs.writeSync(1, text); // 1 is standard output
  } catch {} // Downloads go on if the reader has left, as `head` does.
}

/** Says what went wrong, in one line: what {@link showFailure} shows. */
export function explain(error: unknown): string {
  const { name, message, code, path } = Object(error);
  let words = String(message || name || error || "no reason");
  if (name === "TimeoutError") words = "no whole answer within the time limit";
  // A proxy or a redirect, not the URL, may be at fault: hence "fetching".
  const url = error instanceof TypeError ? path : undefined;
  if (url) words = `${code ?? words} fetching ${url}`;
  // A server chooses some words: control characters could color the terminal.
  return words.replace(/\p{C}+/gu, " ");
}

// ---- The command line ----
const SCRIPT = basename(process.argv[1] ?? "flags.ts"); // what was run
const DELAY_S = 0.1; // how long the demo takes for a flag, on average

const HELP = `Usage: bun ${SCRIPT} [options] [CC ...]
Downloads country flags. Defaults are in parentheses.

  CC                 country codes (${POP20_CC.length} most populous countries)
  -s, --server URL   where flags are (${BASE_URL})
      --dest DIR     where to save them (${DEST_DIR})
  -t, --timeout SEC  give up on a flag after SEC seconds (${TIMEOUT_MS / 1000})
      --demo         make up flags for those 20, in demo/: needs no network
      --delay SEC    implies --demo: about SEC seconds for a flag (${DELAY_S})
      --busy N       implies --demo: 503 for requests beyond N at once
  -h, --help         show this help and end`;

/** Reads the command line and makes the folder. `--help` gives undefined. */
async function prepare(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      server: { type: "string", short: "s" },
      dest: { type: "string" }, // no short -d: -demo would mean -d emo
      timeout: { type: "string", short: "t" },
      demo: { type: "boolean" },
      delay: { type: "string" },
      busy: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return console.log(HELP);
  positionals.forEach(checkCode);
  const typed = positionals.map((cc) => cc.toUpperCase());
  const codes = [...new Set(typed.length > 0 ? typed : POP20_CC)].sort();
  const { server, busy } = values;
  const isDemo = Boolean(values.demo || values.delay || busy);
  const href = URL.parse(server ?? DEFAULTS.baseUrl)?.href ?? "";
  const isPlainUrl = /^https?:\/\/[^@/]+\/[^?#]*$/.test(href);
  const timeout = Number(values.timeout ?? DEFAULTS.timeoutMs / 1000);
  const delay = Number(values.delay ?? DELAY_S);
  // Bun itself gives up on a silent server after some 360 s.
  check(timeout > 0 && timeout <= 300, "--timeout: seconds above 0, up to 300");
  // An answer takes up to 1.5 times the delay: 6 s, less than TIMEOUT_MS.
  check(delay > 0 && delay <= 4, "--delay: seconds above 0, up to 4");
  check(/^[1-9]\d*$/.test(busy ?? "1"), "--busy: a whole number above 0");
  check(isPlainUrl, "--server: a URL with http(s)://, without user, ? or #");
  check(!isDemo || !server, "--server: not for a demo, which brings its own");
  const baseUrl = href.replace(/\/+$/, "");
  const destDir = values.dest ?? (isDemo ? "demo" : DEFAULTS.destDir);
  fs.mkdirSync(destDir, { recursive: true });
  fs.accessSync(destDir, fs.constants.W_OK);
  const options = { baseUrl, destDir, timeoutMs: timeout * 1000 };
  const demo = isDemo && { delay, busy: Number(busy ?? Infinity) };
  return { codes, options, demo };
}

function refuse(error: unknown): void {
  // Only the first sentence is kept, as the advice after it seldom helps.
  console.error(explain(error).replace(/\. (Did|To) .*/, ""));
  const isAboutFolder = "path" in Object(error);
  if (!isAboutFolder) console.error(`Try 'bun ${SCRIPT} --help'.`);
  process.exitCode = 2;
}

// ---- The demo server, and main ----
/** In base64: three stripes on 3 by 2 pixels, the flag of no country. */
const DEMO_GIF = "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==";

function startDemoServer({ delay, busy }: { delay: number; busy: number }) {
  // Otherwise, a user's proxy would get even requests to this machine.
  const { no_proxy, NO_PROXY } = process.env;
  process.env["no_proxy"] = `${no_proxy || NO_PROXY || ""},127.0.0.1`;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0, // any free one
    // This is not the client's `fetch`: it answers a request.
    async fetch(request, { pendingRequests }) {
      // The request at hand is among the pending ones.
      if (pendingRequests > busy) return new Response(null, { status: 503 });
      // At random, so that answers overtake each other. With `unref`, an answer
      // that nobody waits for does not keep the script from ending.
      const wait = delay * 1000 * (0.5 + Math.random());
      await new Promise((done) => setTimeout(done, wait).unref());
      const cc = basename(request.url, ".gif").toUpperCase();
      if (!POP20_CC.includes(cc)) return new Response(null, { status: 404 });
      return new Response(Buffer.from(DEMO_GIF, "base64"));
    },
  });
  server.unref(); // so that the server ends with the script
  return server.url.origin;
}

/**
 * Reads the command line, by default `Bun.argv.slice(2)`, calls the downloader
 * and reports how long it took. Throws what the downloader throws. The status
 * is 1 if flags are missing or downloads still run, 2 if `args` are wrong.
 */
export async function main(
  downloader: Downloader,
  args: readonly string[] = Bun.argv.slice(2),
): Promise<void> {
  const command = await prepare(args).catch(refuse);
  if (!command) return;
  const { codes, options, demo } = command;
  const baseUrl = demo ? startDemoServer(demo) : options.baseUrl;

  const start = performance.now();
  const count = await downloader([...codes], { ...options, baseUrl });
  const seconds = (performance.now() - start) / 1000;
  endLine();
  const ofAll = count === codes.length ? "" : ` of ${codes.length}`;
  print(`${count}${ofAll} downloads in ${seconds.toFixed(2)}s\n`);
  if (running > 0) console.error(`${running} still run: is an await missing?`);
  if (running > 0 || count !== codes.length) process.exitCode = 1;
  process.once("exit", endLine); // for codes shown later
}

// True if this file is run, and false if it is imported.
if (import.meta.main) await main(downloadMany);
