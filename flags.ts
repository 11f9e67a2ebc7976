#!/usr/bin/env bun
// SPDX-License-Identifier: MIT-0
/**
 * Downloads country flags, one after the other. This is `flags.py`, Example
 * 20-2 of _Fluent Python_ (2nd edition, by Luciano Ramalho), in TypeScript.
 *
 * `bun flags.ts` downloads the flags of the 20 most populous countries from the
 * book's web site. `bun flags.ts --demo` needs no network and takes about two
 * seconds, since the script waits for each flag before it asks for the next.
 *
 * Other scripts import this file and give `main` a function of their own. The
 * one here asks for all flags at once: with `--demo`, it takes about 0.15 s.
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
 *
 * @module
 */
import { mkdirSync, renameSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

// ---- Settings ----

/** ISO 3166 codes of the 20 most populous countries, as the book has them. */
export const POP20_CC: readonly string[] =
  "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR".split(" ");

/** Where the flags are: on the book's web site. */
export const BASE_URL = "https://www.fluentpython.com/data/flags";

/** The folder for the flags, in the working directory. */
export const DEST_DIR = "downloaded";

/**
 * Milliseconds for one flag, from the request to its last byte: the book's
 * 6.1 s. Without a limit, a network call can block for minutes.
 */
export const TIMEOUT_MS = 6100;

/** Where flags come from, where they go, and how long each of them may take. */
export interface DownloadOptions {
  /** What stands before `/br/br.gif` in a URL. Default: {@link BASE_URL}. */
  baseUrl?: string;
  /** The folder, made if needed. Default: {@link DEST_DIR}. */
  destDir?: string;
  /** Milliseconds, a finite number. Default: {@link TIMEOUT_MS}. */
  timeoutMs?: number;
}

// ---- The book's functions ----

/**
 * Saves an image in `destDir`. An older file or link of that name is replaced;
 * the link's target stays. The book's `save_flag`.
 *
 * @throws what the file system throws. An older file is then left as it was.
 */
export async function saveFlag(
  image: Uint8Array,
  filename: string,
  { destDir = DEST_DIR }: DownloadOptions = {},
): Promise<void> {
  await replaceFile(join(destDir, filename), image);
}

/**
 * Gets the flag at `{baseUrl}/{cc}/{cc}.gif`, where the country code is in
 * lower case; `cc` may be in either case. The book's `get_flag`.
 *
 * @throws RangeError, before any request, if `cc` is not two letters A to Z.
 * @throws what `fetch` throws. When time is up, that is an error whose `name`
 * is "TimeoutError"; when the network fails, a `TypeError` whose `code` says
 * how, for instance "ECONNREFUSED".
 * @throws Error if the answer is no flag. Its `cause` is the `Response`, whose
 * `status` is 404, for instance, or 200 if its body is no complete GIF.
 */
export async function getFlag(
  cc: string,
  { baseUrl = BASE_URL, timeoutMs = TIMEOUT_MS }: DownloadOptions = {},
): Promise<Uint8Array> {
  checkCode(cc);
  const path = `/${cc}/${cc}.gif`.toLowerCase();
  const response = await fetch(baseUrl.replace(/\/+$/, "") + path, {
    signal: AbortSignal.timeout(timeoutMs), // bounds reading the body, too
  });
  if (!response.ok) {
    // A body that nobody reads or cancels keeps its connection open.
    await response.body?.cancel();
    const status = `${response.status} ${response.statusText}`;
    throw new Error(`HTTP ${status}: ${response.url}`, { cause: response });
  }
  const image = await response.bytes();
  if (!startsAndEndsLikeGif(image)) {
    throw new Error(`not a complete GIF: ${response.url}`, { cause: response });
  }
  return image;
}

/**
 * Gets, saves and shows one flag, and returns whether the flag was saved. A
 * failure is reported on standard error and not thrown, so that the other
 * flags go on. Like `download_one` in the book's threaded script.
 *
 * @param cc the country code, in upper case. The file's name is `${cc}.gif`.
 * @param get gets the image. A function that calls {@link getFlag} can, for
 * instance, try again after a failure, or ask another server.
 */
export async function downloadOne(
  cc: string,
  options?: DownloadOptions,
  get: typeof getFlag = getFlag,
): Promise<boolean> {
  try {
    checkCode(cc); // before another `get`, which may not check the code
    const image = await get(cc, options);
    await saveFlag(image, `${cc}.gif`, options);
  } catch (error) {
    endLineOfCodes();
    console.error(`${cc}: ${explain(error)}`);
    return false;
  }
  showCode(cc);
  return true;
}

/**
 * Downloads flags one after the other, in alphabetical order, and returns how
 * many were saved. The book's `download_many`, which concurrent scripts replace
 * by a function of their own. `codes` are in upper case.
 */
export async function downloadMany(
  codes: readonly string[],
  options?: DownloadOptions,
): Promise<number> {
  let count = 0;
  for (const cc of [...codes].sort()) {
    if (await downloadOne(cc, options)) count++;
  }
  return count;
}

// ---- Codes, files, images, output ----

function checkCode(cc: string): void {
  // The code becomes part of a URL and of a file name. With anything but
  // letters in it, such as "../x", it could lead to another place.
  if (!/^[a-z]{2}$/i.test(cc)) {
    throw new RangeError(`not a two-letter code: "${cc}"`);
  }
}

/** Writes a file as a whole or not at all, and makes its folder if needed. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  // On a full disk, writing to `path` itself would destroy an older file. The
  // name is random because several scripts may save the same flag at once.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Bun.write(temporary, bytes); // makes the folder
    renameSync(temporary, path); // quicker than the asynchronous one
  } catch (error) {
    // The error to report is the first one, not that of the deletion.
    await Bun.file(temporary)
      .delete()
      .catch(() => {});
    throw error;
  }
}

function startsAndEndsLikeGif(bytes: Uint8Array): boolean {
  // A login page starts in another way, and an image that was cut short almost
  // always ends in another way.
  const signature = new TextDecoder().decode(bytes.subarray(0, 4));
  const trailer = 0x3b; // the last byte of every GIF
  return signature === "GIF8" && bytes.at(-1) === trailer;
}

/** Whether the last thing shown is a code, so that its line is still open. */
let lineIsOpen = false;

/** Shows a code at once: the book's `print(cc, end=' ', flush=True)`. */
function showCode(cc: string): void {
  try {
    writeSync(1, `${cc} `); // 1 is standard output
  } catch {
    // The output is full, or closed, as by `| head -c 3`. That need not stop
    // the downloads.
  }
  lineIsOpen = true;
}

/** Lets what is shown next have a line of its own. */
function endLineOfCodes(): void {
  if (lineIsOpen) console.log();
  lineIsOpen = false;
}

// The runtime's own words are for programmers: "Unable to connect. Is the
// computer able to access the url?"
const PLAIN_WORDS: Record<string, string> = {
  EAI_AGAIN: "cannot look up the host",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection lost",
  ENETUNREACH: "network unreachable",
  ENOTFOUND: "no such host",
  ERR_TLS_CERT_ALTNAME_INVALID: "certificate of another host",
};

/** Says what went wrong, for a user to read. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // `fetch` puts the URL into an error's `path`.
  const { code = "", path, message } = error as NodeJS.ErrnoException;
  const words = PLAIN_WORDS[code];
  return words && path ? `${words}: ${path}` : message;
}

// ---- The command line ----

/** The script that was run, which may be one that imports this file. */
const SCRIPT = basename(Bun.main);

const HELP = `Usage: bun ${SCRIPT} [options] [CC ...]

Downloads country flags. Defaults are in parentheses.

  CC                 country codes (${POP20_CC.length} most populous countries)
  -s, --server URL   where flags are (${BASE_URL})
  -d, --dest DIR     where to save them (${DEST_DIR})
  -t, --timeout SEC  give up on a flag after SEC seconds (${TIMEOUT_MS / 1000})
      --demo         save made-up flags in demo/: no network needed
  -h, --help         show this help and end`;

/** @throws Error that says what is wrong, for the user to read. */
function parseCommandLine(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      server: { type: "string", short: "s" },
      dest: { type: "string", short: "d" },
      timeout: { type: "string", short: "t" },
      demo: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return "help" as const;

  const { demo, server, dest, timeout } = values;
  if (demo && server) {
    throw new Error("--demo brings its own server: leave out --server");
  }
  const baseUrl = server ?? BASE_URL;
  const url = URL.parse(baseUrl);
  if (!url || !/^https?:/.test(url.protocol)) {
    throw new Error("--server takes an http:// or https:// URL");
  }
  if (url.username || url.password) {
    throw new Error(
      "--server takes no user name or password: error messages would show them",
    );
  }
  const timeoutMs = timeout === undefined ? TIMEOUT_MS : Number(timeout) * 1000;
  // A word gives NaN, which fails both comparisons. A number above 3600 is
  // likely to be meant in milliseconds.
  if (!(timeoutMs > 0 && timeoutMs <= 3_600_000)) {
    throw new Error(`--timeout takes seconds, up to 3600, not "${timeout}"`);
  }
  // Made-up flags get a folder of their own, so that they replace no real ones.
  const destDir = dest ?? (demo ? "demo" : DEST_DIR);
  const codes = new Set(positionals.map((cc) => cc.toUpperCase()));
  const options = { baseUrl, destDir, timeoutMs };
  return { codes: codes.size > 0 ? [...codes] : POP20_CC, options, demo };
}

/** Says why nothing is begun, and sets the exit status for that. */
function refuse(reason: string): void {
  console.error(reason);
  process.exitCode = 2;
}

// ---- The demo server ----

/** In base64: three stripes on 3 by 2 pixels, the flag of no country. */
const DEMO_GIF = "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==";

/** How long an answer takes on average: raise it for a slower demo. */
const DEMO_DELAY_MS = 100;

function startDemoServer() {
  // Without this variable, `fetch` would ask a user's proxy for an address on
  // this machine. It counts for the whole process.
  process.env["no_proxy"] = "127.0.0.1"; // brackets are for strict compilers
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0, // any free one
    routes: {
      // As getFlag asks for them: /br/br.gif, for instance.
      "/:cc/*": async ({ params }) => {
        // From 50 to 150 ms at random, so that answers overtake each other.
        await Bun.sleep(DEMO_DELAY_MS * (0.5 + Math.random()));
        return POP20_CC.includes(params.cc.toUpperCase())
          ? new Response(Buffer.from(DEMO_GIF, "base64"))
          : new Response(null, { status: 404 });
      },
    },
  });
}

// ---- The book's main ----

/**
 * The function that {@link main} calls and times. It downloads the flags of
 * `codes`, which are in upper case, not checked, not sorted and not repeated,
 * and returns how many were saved. {@link downloadOne} shows codes and
 * failures; without it, the function has to show them itself.
 */
export type Downloader = (
  codes: readonly string[],
  options: Required<DownloadOptions>,
) => Promise<number>;

/**
 * Reads the command line, calls the downloader and reports how long it took.
 * The book's `main`. Sets `process.exitCode` to 1 if a flag was not saved, and
 * to 2 if the command line is wrong or the folder cannot be made. With 2, and
 * after `--help`, it returns without having called the downloader.
 *
 * @param args what follows the script's name on the command line.
 * @throws what the downloader throws.
 */
export async function main(
  downloader: Downloader,
  args: readonly string[] = Bun.argv.slice(2),
): Promise<void> {
  let command;
  try {
    command = parseCommandLine(args);
  } catch (error) {
    return refuse(`${explain(error)}\nTry 'bun ${SCRIPT} --help'.`);
  }
  if (command === "help") {
    console.log(HELP);
    return;
  }
  const { codes, options, demo } = command;
  try {
    // Bun.write would make the folder with the first flag. But a folder that
    // cannot be made is to be reported once, and before any request.
    mkdirSync(options.destDir, { recursive: true });
  } catch (error) {
    return refuse(explain(error));
  }
  using server = demo ? startDemoServer() : undefined; // stops when main ends
  if (server) options.baseUrl = server.url.origin;

  const start = performance.now();
  const count = await downloader(codes, options);
  const seconds = (performance.now() - start) / 1000;

  endLineOfCodes();
  console.log(`${count} downloads in ${seconds.toFixed(2)}s`);
  if (count < codes.length) process.exitCode = 1;
}

if (import.meta.main) await main(downloadMany);
