#!/usr/bin/env bun
// SPDX-License-Identifier: MIT-0
/**
 * Downloads country flags, one after the other. It is the plain script to
 * compare with concurrent ones, which import it.
 *
 * `bun flags.ts --demo` takes about two seconds, as each of the 20 flags waits
 * for the one before it. The following script asks for all of them at once,
 * has the same command line, and takes about 0.15 s:
 *
 * ```ts
 * import { downloadOne, main } from "./flags.ts";
 *
 * await main(async (codes, options) => {
 *   const all = codes.map((cc) => downloadOne(cc, options));
 *   return (await Promise.all(all)).filter(Boolean).length;
 * });
 * ```
 *
 * This file is `flags.py`, Example 20-2 of _Fluent Python_ (2nd edition, by
 * Luciano Ramalho), in TypeScript for Bun.
 *
 * @module
 */
import { mkdirSync, renameSync } from "node:fs";
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

/** Where flags come from, where they go, and how long each may take. */
export interface DownloadOptions {
  /** What stands before `/br/br.gif` in a URL. Default: {@link BASE_URL}. */
  baseUrl?: string;
  /** The folder, made if needed. Default: {@link DEST_DIR}. */
  destDir?: string;
  /** Milliseconds for one flag. Default: {@link TIMEOUT_MS}. */
  timeoutMs?: number;
}

// ---- The book's functions ----

/**
 * Saves an image in `destDir`, in place of an older file or link of that name.
 * The book's `save_flag`.
 *
 * @throws what the file system throws. An older file is then left as it was.
 */
export async function saveFlag(
  image: Uint8Array,
  filename: string,
  { destDir = DEST_DIR }: DownloadOptions = {},
): Promise<void> {
  const path = join(destDir, filename);
  // Writing to `path` itself would lose the older file when the disk is full.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Bun.write(temporary, image); // makes the folder, if needed
    renameSync(temporary, path); // takes less time than an await would
  } catch (error) {
    await Bun.file(temporary)
      .delete()
      .catch(() => {}); // the first error is the one to report
    throw error;
  }
}

/**
 * Gets the flag at `{baseUrl}/{cc}/{cc}.gif`; `cc` may be in either case.
 * The book's `get_flag`.
 *
 * @throws RangeError, before any request, if `cc` is not two letters A to Z.
 * @throws what `fetch` throws: a `TypeError` with a `code`, or a `DOMException`
 * with the `name` "TimeoutError".
 * @throws Error if the answer is no flag. Its `cause` is the `Response`, whose
 * `status` tells a 404 from a 503.
 */
export async function getFlag(
  cc: string,
  { baseUrl = BASE_URL, timeoutMs = TIMEOUT_MS }: DownloadOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  // Keeps all but letters out of the URL, and of the file name.
  if (!/^[a-z]{2}$/i.test(cc)) {
    throw new RangeError(`not a two-letter code: "${cc}"`);
  }
  const code = cc.toLowerCase();
  const url = `${baseUrl.replace(/\/+$/, "")}/${code}/${code}.gif`;
  const response = await fetch(url, {
    redirect: "follow", // the default; the book's library has to be told
    signal: AbortSignal.timeout(timeoutMs), // covers reading the body, too
  });
  if (!response.ok) {
    // An unread body would keep its connection open.
    await response.body?.cancel().catch(() => {});
    const status = `${response.status} ${response.statusText}`.trim();
    throw new Error(`HTTP ${status}: ${response.url}`, { cause: response });
  }
  const image = new Uint8Array(await response.arrayBuffer());
  if (!startsAndEndsLikeGif(image)) {
    throw new Error(`not a complete GIF: ${response.url}`, { cause: response });
  }
  return image;
}

/**
 * Gets, saves and shows one flag, and returns whether that went well. Reports
 * a failure on standard error, so that the other flags go on. Ends the process
 * if standard output cannot be written to.
 *
 * Concurrent scripts call it, like `download_one` in the book's threaded one.
 */
export async function downloadOne(
  cc: string,
  options?: DownloadOptions,
): Promise<boolean> {
  const code = cc.toUpperCase();
  try {
    const image = await getFlag(code, options);
    await saveFlag(image, `${code}.gif`, options);
  } catch (error) {
    console.error(`${code}: ${explain(error)}`);
    return false;
  }
  await printOrExit(`${code} `);
  return true;
}

/**
 * Downloads flags one after the other, in alphabetical order, and returns how
 * many were saved. The book's `download_many`, to compare others with.
 */
export async function downloadMany(
  codes: readonly string[],
  options?: DownloadOptions,
): Promise<number> {
  let count = 0;
  // Capitals sort before small letters, so make all of them capitals.
  for (const cc of codes.map((code) => code.toUpperCase()).sort()) {
    if (await downloadOne(cc, options)) count++;
  }
  return count;
}

/**
 * What {@link main} runs and times: downloads the flags of `codes`, which are
 * in upper case, each once, in the order given. Returns how many were saved.
 * Shows codes and failures itself, or leaves that to {@link downloadOne}.
 */
export type Downloader = (
  codes: readonly string[],
  options: Required<DownloadOptions>,
) => Promise<number>;

/**
 * Reads the command line, runs the downloader and reports how long it took.
 * The book's `main`. Sets `process.exitCode` to 1 if a flag was not saved. Sets
 * it to 2, and does not call the downloader, if the command line is wrong or
 * the folder cannot be made. With `--help` it shows the help and returns.
 *
 * @param args what follows the script's name on the command line.
 * @throws only what the downloader throws.
 */
export async function main(
  downloader: Downloader,
  args: readonly string[] = Bun.argv.slice(2),
): Promise<void> {
  let command: CommandLine | "help";
  try {
    command = parseCommandLine(args);
    if (command === "help") return await printOrExit(HELP);
    // Made here, so that a bad folder is reported once and before any request.
    mkdirSync(command.options.destDir, { recursive: true });
  } catch (error) {
    console.error(`${explain(error)}\nTry 'bun ${SCRIPT} --help'.`);
    process.exitCode = 2;
    return;
  }
  const { codes, options, demo } = command;
  using server = demo ? startDemoServer() : undefined; // stops when main ends
  const baseUrl = server?.url.origin ?? options.baseUrl;

  const start = performance.now();
  const count = await downloader(codes, { ...options, baseUrl });
  const seconds = (performance.now() - start) / 1000;

  await printOrExit(`\n${count} downloads in ${seconds.toFixed(2)}s\n`);
  if (count < codes.length) process.exitCode = 1;
}

// ---- GIFs, errors, output ----

/** Tells a GIF from a login page, and most whole ones from those cut short. */
function startsAndEndsLikeGif(bytes: Uint8Array): boolean {
  const signature = new TextDecoder().decode(bytes.subarray(0, 4));
  const trailer = 0x3b; // the last byte of every GIF
  return signature === "GIF8" && bytes.at(-1) === trailer;
}

/** For an error's `code`, plainer words than those of its message. */
const PLAIN_WORDS: Record<string, string> = {
  EACCES: "permission denied",
  EAI_AGAIN: "cannot look up the host",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection lost",
  ENETUNREACH: "network unreachable",
  ENOSPC: "no space left",
  ENOTFOUND: "no such host",
  ERR_TLS_CERT_ALTNAME_INVALID: "certificate of another host",
};

/** What went wrong, and with which file or URL, as far as the error knows. */
function explain(error: unknown): string {
  // fetch puts the URL in `path`, and its messages may end in advice for
  // programmers: 'ZlibError fetching "http://...". For more information, ...'.
  const { code = "", message, path } = error as NodeJS.ErrnoException;
  const withoutAdvice = message.replace(/\. For more information, .*/, "");
  const words = PLAIN_WORDS[code] ?? withoutAdvice;
  return path && !words.includes(path) ? `${words}: ${path}` : words;
}

/** Writes to standard output. If that fails, ends the process with status 1. */
async function printOrExit(text: string): Promise<void> {
  await Bun.write(Bun.stdout, text).catch((error) => {
    // A closed pipe needs no message: `head` has read what it wants.
    if (error.code !== "EPIPE") console.error(`output: ${explain(error)}`);
    process.exit(1);
  });
}

// ---- The command line ----

/** The script that was run, which may be one that imports this file. */
const SCRIPT = basename(Bun.main);

const HELP = `Usage: bun ${SCRIPT} [options] [CC ...]

Downloads country flags.

  CC                 country codes (the ${POP20_CC.length} most populous ones)
  -s, --server URL   where they are (${BASE_URL})
  -d, --dest DIR     where to save them (${DEST_DIR})
  -t, --timeout SEC  give up on a flag after SEC seconds (${TIMEOUT_MS / 1000})
      --demo         save made-up flags in demo/: no network needed
  -h, --help         show this help and end
`;

interface CommandLine {
  codes: readonly string[];
  options: Required<DownloadOptions>;
  demo: boolean;
}

/** @throws what is wrong, for the user to read. */
function parseCommandLine(args: readonly string[]): CommandLine | "help" {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      server: { type: "string", short: "s" },
      dest: { type: "string", short: "d" },
      timeout: { type: "string", short: "t" },
      demo: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return "help";

  const { demo = false, server, dest, timeout } = values;
  if (demo && server) {
    throw new Error("--demo brings its own server: leave out --server");
  }
  const baseUrl = server ?? BASE_URL;
  const url = URL.parse(baseUrl);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    // The URL is not shown, as it may hold a password.
    throw new Error("--server takes an http:// or https:// URL, no user name");
  }
  const timeoutMs = timeout === undefined ? TIMEOUT_MS : Number(timeout) * 1000;
  // A word gives NaN, which fails both comparisons.
  if (!(timeoutMs > 0 && timeoutMs <= 3_600_000)) {
    throw new Error(`--timeout takes seconds, up to 3600, not "${timeout}"`);
  }
  // By default, made-up flags do not go where they would replace real ones.
  const destDir = dest ?? (demo ? "demo" : DEST_DIR);
  const codes = new Set(positionals.map((cc) => cc.toUpperCase()));
  const options = { baseUrl, destDir, timeoutMs };
  return { codes: codes.size > 0 ? [...codes] : POP20_CC, options, demo };
}

// ---- The demo server ----

/** In base64: three stripes on 3 by 2 pixels, the flag of no country. */
const DEMO_GIF = "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==";

/** How long an answer takes on average: raise it for a slower demo. */
const DEMO_DELAY_MS = 100;

function startDemoServer() {
  // fetch would ask the user's proxy even for a loopback address. It reads this
  // variable at each request, and prefers it to NO_PROXY.
  process.env["no_proxy"] = "127.0.0.1";
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0, // any free one
    routes: {
      "/:cc/:file": async ({ params }) => {
        // From 50 to 150 ms at random, so that answers overtake each other.
        await Bun.sleep(DEMO_DELAY_MS * (0.5 + Math.random()));
        return POP20_CC.includes(params.cc.toUpperCase())
          ? new Response(Buffer.from(DEMO_GIF, "base64"))
          : new Response(null, { status: 404 });
      },
    },
  });
}

if (import.meta.main) await main(downloadMany);
