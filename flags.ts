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
 * `--demo` needs no network. Without it, flags come from the book's web site.
 * Other scripts import this file and give `main` a function of their own. For
 * example, these lines ask for all flags at once: 0.15 s or so with `--demo`.
 *
 * ```ts
 * import { downloadOne, main } from "./flags.ts";
 *
 * await main(async (codes, options) => {
 *   const downloads = codes.map((cc) => downloadOne(cc, options));
 *   const saved = await Promise.all(downloads); // a boolean for each flag
 *   return saved.filter(Boolean).length; // how many are true
 * });
 * ```
 */
import { mkdirSync, renameSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

/** ISO 3166 codes of the 20 most populous countries, in upper case. */
export const POP20_CC: readonly string[] =
  "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR".split(" ");

/** Where the flags are: on the book's web site. */
export const BASE_URL = "https://www.fluentpython.com/data/flags";

/** The folder for the flags, in the working directory. */
export const DEST_DIR = "downloaded";

/** Milliseconds for a whole answer. (The book's 6.1 s limit each wait.) */
export const TIMEOUT_MS = 6100;

/** Where flags come from, where they go, and how long each of them may take. */
export interface DownloadOptions {
  /** What stands before `/br/br.gif` in a URL. Default: {@link BASE_URL}. */
  baseUrl?: string;
  /** The folder, made if needed. Default: {@link DEST_DIR}. */
  destDir?: string;
  /** Milliseconds, above 0 and finite. Default: {@link TIMEOUT_MS}. */
  timeoutMs?: number;
}

/**
 * The function that {@link main} calls and times. It downloads the flags of
 * `codes`, in upper case and any order, shows each with {@link downloadOne}, or
 * {@link showCode} and {@link showFailure}, and returns how many were saved.
 */
export type Downloader = (
  codes: readonly string[],
  options: Required<DownloadOptions>,
) => Promise<number>;

// ---- The book's functions ----

/**
 * Saves an image in `destDir`, in the place of an older file or link. If
 * `filename` is a path, only its last part counts. The book's `save_flag`.
 *
 * @throws what the file system throws. An older file is then left as it was.
 */
export async function saveFlag(
  image: Uint8Array,
  filename: string,
  { destDir = DEST_DIR }: DownloadOptions = {},
): Promise<void> {
  await replaceFile(join(destDir, basename(filename)), image);
}

/**
 * Gets the flag at `{baseUrl}/{cc}/{cc}.gif`, where the country code is in
 * lower case; `cc` may be in either case. The book's `get_flag`.
 *
 * @throws RangeError, before any request, if `cc` is not two letters A to Z.
 * @throws what `fetch` throws: if time is up, an error whose `name` is
 * "TimeoutError"; if the network fails, a `TypeError` with a `code`.
 * @throws Error if the answer is no flag. Its `cause` is the `Response`, with a
 * `status` such as 404, or 200 for an incomplete GIF, and its body consumed.
 */
export async function getFlag(
  cc: string,
  { baseUrl = BASE_URL, timeoutMs = TIMEOUT_MS }: DownloadOptions = {},
): Promise<Uint8Array> {
  checkCode(cc);
  const path = `${cc}/${cc}.gif`.toLowerCase();
  const signal = AbortSignal.timeout(timeoutMs); // bounds the body, too
  const response = await fetch(`${baseUrl}/${path}`, { signal });
  if (!response.ok) {
    // Lets go of the connection. (With a broken page, this fails harmlessly.)
    response.body?.cancel().catch(() => {});
    const status = `${response.status} ${response.statusText}`.trimEnd();
    throw new Error(`HTTP ${status}: ${response.url}`, { cause: response });
  }
  const image = await response.bytes();
  if (!isCompleteGif(image)) {
    throw new Error(`not a complete GIF: ${response.url}`, { cause: response });
  }
  return image;
}

/**
 * Gets, saves and shows one flag, and returns whether the flag was saved. A
 * failure is shown, not thrown, so that the other flags go on. The book's
 * `download_one`, from its threaded script.
 *
 * @param cc the country code, in upper case. The file's name is `${cc}.gif`.
 * @param get gets the image, which is saved without another check. A function
 * that calls {@link getFlag} can, for instance, try again after a failure.
 */
export async function downloadOne(
  cc: string,
  options?: DownloadOptions,
  get: typeof getFlag = getFlag,
): Promise<boolean> {
  try {
    const image = await get(cc, options);
    await saveFlag(image, `${cc}.gif`, options);
    showCode(cc);
    return true;
  } catch (error) {
    showFailure(cc, error);
    return false;
  }
}

/**
 * Downloads flags one after the other, in alphabetical order, and returns how
 * many were saved. The book's `download_many`, which concurrent scripts replace
 * by a function of their own. Calls {@link downloadOne} with `get` for each.
 */
export async function downloadMany(
  codes: readonly string[],
  options?: DownloadOptions,
  get?: typeof getFlag,
): Promise<number> {
  let count = 0;
  for (const cc of [...codes].sort()) {
    if (await downloadOne(cc, options, get)) count++;
  }
  return count;
}

// ---- Checking and saving ----

/** Letters only: in a URL, a code such as "../x" would lead elsewhere. */
function checkCode(cc: string): void {
  if (!/^[a-z]{2}$/i.test(cc)) {
    throw new RangeError(`not a two-letter country code: "${cc}"`);
  }
}

/** A login page has another start, and most images cut short another end. */
function isCompleteGif(image: Uint8Array): boolean {
  const startsAsGif = Buffer.from("GIF8").equals(image.subarray(0, 4));
  return startsAsGif && image.at(-1) === 0x3b; // the byte that ends a GIF
}

/** Writes a file as a whole or not at all, and makes its folder if needed. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  // On a full disk, writing to `path` itself would destroy an older file. The
  // name is random because several scripts may save the same flag at once.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Bun.write(temporary, bytes);
    renameSync(temporary, path);
  } catch (error) {
    // The error to report is the first one, not that of the deletion.
    await Bun.file(temporary)
      .delete()
      .catch(() => {});
    throw error;
  }
}

// ---- Showing ----

let newline = ""; // "\n" after a code, since the next code shares its line

/** Shows that a flag was saved: the book's `print(cc, end=' ', flush=True)`. */
export function showCode(cc: string): void {
  print(`${cc} `);
  newline = "\n";
}

/** Shows why a flag was not saved, on a line of its own on standard error. */
export function showFailure(cc: string, error: unknown): void {
  print(newline);
  newline = "";
  console.error(`${cc}: ${explain(error)}`);
}

function print(text: string): void {
  try {
    writeSync(1, text); // 1 is standard output
  } catch {
    // A full or closed output, as by `| head -c 3`, stops no downloads. (With
    // process.stdout, the error would come later, and not to this `catch`.)
  }
}

/** Says what went wrong, in one line: what {@link showFailure} shows. */
export function explain(error: unknown): string {
  const thrown = error instanceof Error ? error : new Error(String(error));
  const { name, message, code, path } = thrown as NodeJS.ErrnoException;
  let words = message;
  if (name === "TimeoutError") words = "no whole answer within the time limit";
  // An error of `fetch`. The fault may lie with this URL, a proxy, a redirect.
  if (error instanceof TypeError && path) words = `${code} fetching ${path}`;
  // A server chooses some words: control characters could color or break them.
  return words.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ");
}

// ---- The command line ----

/** The script that was run: this one, or one that imports it. */
const SCRIPT = basename(process.argv[1] ?? "flags.ts");
const DELAY_S = 0.1; // seconds for an answer of the demo, on average

const HELP = `Usage: bun ${SCRIPT} [options] [CC ...]

Downloads country flags. Defaults are in parentheses.

  CC                 country codes (${POP20_CC.length} most populous countries)
  -s, --server URL   where flags are (${BASE_URL})
  -d, --dest DIR     where to save them (${DEST_DIR})
  -t, --timeout SEC  give up on a flag after SEC seconds (${TIMEOUT_MS / 1000})
      --demo         save made-up flags in demo/: no network needed
      --delay SEC    implies --demo: about SEC seconds for a flag (${DELAY_S})
      --busy N       implies --demo: 503 for requests beyond N at once
  -h, --help         show this help and end`;

/** Returns undefined for `--help`, and throws errors for the user to read. */
function parseCommandLine(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      server: { type: "string", short: "s" },
      dest: { type: "string", short: "d" },
      timeout: { type: "string", short: "t" },
      demo: { type: "boolean" },
      delay: { type: "string" },
      busy: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  positionals.forEach(checkCode);
  const typed = positionals.map((cc) => cc.toUpperCase());
  const codes = typed.length > 0 ? [...new Set(typed)] : POP20_CC;
  const { server, dest, busy } = values;
  const timeout = Number(values.timeout ?? TIMEOUT_MS / 1000);
  const delay = Number(values.delay ?? DELAY_S);
  const isDemo = Boolean(values.demo || values.delay || busy);
  const href = URL.parse(server ?? BASE_URL)?.href ?? "";
  const isPlainUrl = /^https?:\/\/[^@/]+\/[^?#]*$/.test(href);
  // A value that is no number becomes NaN, for which no comparison holds. The
  // longest delay is 4 s: answers take up to 1.5 times that, within TIMEOUT_MS.
  const rules: [boolean, string][] = [
    [timeout > 0 && timeout <= 3600, "--timeout: seconds, above 0, up to 3600"],
    [delay > 0 && delay <= 4, "--delay: seconds, above 0, up to 4"],
    [/^[1-9]\d*$/.test(busy ?? "1"), "--busy: a whole number above 0"],
    [dest !== "", "--dest: the name of a folder"],
    [isPlainUrl, "--server: a URL with http(s)://, without user, ? or #"],
    [!isDemo || !server, "--server: not for a demo, which brings its own"],
  ];
  for (const [holds, rule] of rules) if (!holds) throw new Error(rule);

  const baseUrl = href.replace(/\/+$/, "");
  const destDir = dest ?? (isDemo ? "demo" : DEST_DIR); // apart from real flags
  const options = { baseUrl, destDir, timeoutMs: timeout * 1000 };
  const demo = isDemo ? { delay, atOnce: Number(busy ?? Infinity) } : undefined;
  return { codes, options, demo };
}

// ---- The demo server ----

/** In base64: three stripes on 3 by 2 pixels, the flag of no country. */
const DEMO_GIF = "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==";

function startDemoServer({ delay, atOnce }: { delay: number; atOnce: number }) {
  // Without this, `fetch` would ask a user's proxy even for this machine.
  process.env["no_proxy"] = "127.0.0.1";
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0, // any free one
    async fetch({ url }, { pendingRequests }) {
      // The request at hand is among the pending ones.
      if (pendingRequests > atOnce) return new Response(null, { status: 503 });
      // At random, so that answers overtake each other. With `unref`, an answer
      // that nobody waits for does not keep the script from ending.
      const wait = delay * 1000 * (0.5 + Math.random());
      await new Promise((done) => setTimeout(done, wait).unref());
      const cc = url.slice(-6, -4).toUpperCase(); // as in /br/br.gif
      if (!POP20_CC.includes(cc)) return new Response(null, { status: 404 });
      return new Response(Buffer.from(DEMO_GIF, "base64"));
    },
  });
}

// ---- The book's main ----

/**
 * Reads the command line, calls the downloader and reports how long it took.
 * Sets `process.exitCode` to 1 if a flag was not saved, or to 2, without a
 * call, if `args` are wrong or the folder cannot be made. The book's `main`.
 *
 * @param downloader {@link downloadMany}, or a function to compare with it.
 * @param args what follows the script's name on the command line.
 * @throws what the downloader throws.
 */
export async function main(
  downloader: Downloader,
  args: readonly string[] = Bun.argv.slice(2),
): Promise<void> {
  let command: ReturnType<typeof parseCommandLine>;
  try {
    command = parseCommandLine(args);
    if (!command) return console.log(HELP);
    // A folder that cannot be made is reported once, and before any request.
    mkdirSync(command.options.destDir, { recursive: true });
  } catch (error) {
    console.error(`${explain(error)}\nTry 'bun ${SCRIPT} --help'.`);
    process.exitCode = 2;
    return;
  }
  const { codes, options, demo } = command;
  using server = demo && startDemoServer(demo); // stops when main ends
  const baseUrl = server?.url.origin ?? options.baseUrl;

  const start = performance.now();
  const count = await downloader(codes, { ...options, baseUrl });
  const seconds = (performance.now() - start) / 1000;
  const ofAll = count === codes.length ? "" : ` of ${codes.length}`;
  print(`${newline}${count}${ofAll} downloads in ${seconds.toFixed(2)}s\n`);
  newline = "";
  if (count !== codes.length) process.exitCode = 1;
}

if (import.meta.main) await main(downloadMany);
