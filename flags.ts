#!/usr/bin/env bun
// SPDX-FileCopyrightText: 2026 the flags.ts authors
// SPDX-License-Identifier: MIT
/**
 * Downloads country flags, one after the other: `flags.py`, Example 20-2 of
 * _Fluent Python_ (2nd edition, by Luciano Ramalho), in TypeScript on Bun.
 * Concurrent scripts import it, and are compared with it.
 *
 * `bun flags.ts --help` says what it can do as a command.
 *
 * @module
 */
import { mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

/** ISO 3166 codes of the 20 most populous countries, as the book has them. */
export const POP20_CC: readonly string[] =
  "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR".split(" ");

/** Where the flags are: on the book's web site. */
export const BASE_URL: string = "https://www.fluentpython.com/data/flags";

/** The folder for the flags, in the working directory. */
export const DEST_DIR: string = "downloaded";

// The book's limit. With none, a network call can block for minutes.
const TIMEOUT_MS = 6100;

/** Where flags come from, where they go, how long each may take. */
export interface DownloadOptions {
  /** What goes before `/br/br.gif` in a URL. Default: {@link BASE_URL}. */
  baseUrl?: string;
  /** The folder, made if needed. Default: {@link DEST_DIR}. */
  destDir?: string;
  /** Milliseconds for one whole flag, to its last byte. Default: 6100. */
  timeoutMs?: number;
}

/**
 * What {@link main} runs and times: downloads the flags of `codes`, which are
 * in upper case and in any order, and returns how many it saved.
 */
export type Downloader = (
  codes: readonly string[],
  options: Required<DownloadOptions>,
) => Promise<number>;

/**
 * Saves an image in `destDir`: the book's `save_flag`. Whatever happens, the
 * file of that name is whole, the old one or the new one. A link is replaced,
 * not followed.
 *
 * @throws Error if it cannot be saved. The message gives the cause in plain
 * words and the path; `cause` is the runtime's own error.
 */
export async function saveFlag(
  image: Uint8Array,
  filename: string,
  { destDir = DEST_DIR }: DownloadOptions = {},
): Promise<void> {
  const path = join(destDir, filename);
  const partial = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    // Writing in place would lose the old file when the disk is full.
    await Bun.write(partial, image);
    renameSync(partial, path);
  } catch (error) {
    await Bun.file(partial).delete().catch(ignore);
    throw new Error(`${inPlainWords(error)}: ${path}`, { cause: error });
  }
}

/**
 * Gets the image at `{baseUrl}/{cc}/{cc}.gif`, with the code in lower case:
 * the book's `get_flag`. Follows redirects.
 *
 * @throws RangeError, before any request, if `cc` is not two letters A to Z.
 * @throws Error if there is no complete GIF within `timeoutMs`. The message
 * gives the cause in plain words and the URL; `cause` is the runtime's error.
 */
export async function getFlag(
  cc: string,
  { baseUrl = BASE_URL, timeoutMs = TIMEOUT_MS }: DownloadOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  checkCode(cc);
  const name = cc.toLowerCase();
  const url = `${baseUrl}/${name}/${name}.gif`;
  try {
    const response = await fetch(url, {
      redirect: "follow",
      signal: AbortSignal.timeout(timeoutMs),
      decompress: false, // left to wholeGif: fetch prints errors itself
    });
    if (!response.ok) {
      // An unread body would keep its connection open.
      await response.body?.cancel().catch(ignore);
      throw new Error(`HTTP ${response.status} ${response.statusText}`.trim());
    }
    return wholeGif(new Uint8Array(await response.arrayBuffer()));
  } catch (error) {
    const why =
      (error as Error).name === "TimeoutError"
        ? `no complete answer within ${timeoutMs / 1000} s`
        : inPlainWords(error);
    throw new Error(`${why}: ${url}`, { cause: error });
  }
}

/**
 * Gets, saves and shows one flag: `download_one` of the book's threaded script,
 * for concurrent downloaders to build on. If that fails, says why on standard
 * error and returns `false`, so that the others go on. Ends the process if what
 * it shows cannot be written.
 */
export async function downloadOne(
  cc: string,
  options: DownloadOptions = {},
): Promise<boolean> {
  const code = cc.toUpperCase();
  try {
    const image = await getFlag(cc, options);
    await saveFlag(image, `${cc.toLowerCase()}.gif`, options);
  } catch (error) {
    await report(`${code}: ${(error as Error).message}`);
    return false;
  }
  await print(Bun.stdout, `${code} `);
  return true;
}

/**
 * Downloads flags one after the other, and returns how many it saved: the
 * book's `download_many`, to compare with concurrent downloaders. Goes by the
 * alphabet, so that the order shows in the output.
 */
export async function downloadMany(
  codes: readonly string[],
  options: DownloadOptions = {},
): Promise<number> {
  let count = 0;
  for (const cc of codes.map((code) => code.toUpperCase()).sort()) {
    if (await downloadOne(cc, options)) count++;
  }
  return count;
}

/**
 * Reads the command line, makes the folder, runs the downloader and reports
 * the time it took: the book's `main`, and all that a sibling needs.
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
 * Sets `process.exitCode` to 1 if a flag was not saved, to 2 on a usage error.
 *
 * @param args what stands after the script's name on the command line.
 * @throws only what the downloader throws.
 */
export async function main(
  downloader: Downloader,
  args: readonly string[] = Bun.argv.slice(2),
): Promise<void> {
  const command = await readCommandLine(args);
  if (!command) return;
  const { codes, options, demo } = command;
  try {
    mkdirSync(options.destDir, { recursive: true });
  } catch (error) {
    return refuse(1, `${inPlainWords(error)}: ${options.destDir}`);
  }
  using server = demo ? startDemoServer() : null; // stops at the end of main
  if (server) options.baseUrl = server.url.origin;

  const start = performance.now();
  const count = await downloader(codes, options);
  const elapsed = (performance.now() - start) / 1000;

  const noun = count === 1 ? "download" : "downloads";
  await print(Bun.stdout, `\n${count} ${noun} in ${elapsed.toFixed(2)}s\n`);
  if (count < codes.length) process.exitCode = 1;
  if (count === 0 && options.baseUrl === BASE_URL) {
    await print(Bun.stderr, "Try --demo: it needs no network.\n");
  }
}

/** Lets nothing but two letters A to Z get into a URL or a path. */
function checkCode(cc: string): void {
  if (!/^[a-z]{2}$/i.test(cc)) {
    throw new RangeError(`not a two-letter code: ${JSON.stringify(cc)}`);
  }
}

/** The GIF in an answer's body. Believes the bytes, not the headers. */
function wholeGif(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const gzipped = body[0] === 0x1f; // no GIF starts like this
  const image = gzipped ? Bun.gunzipSync(body) : body;
  const start = new TextDecoder().decode(image.subarray(0, 4));
  const whole = start === "GIF8" && image.at(-1) === 0x3b; // its trailer, ";"
  if (!whole) throw new Error("not a complete GIF");
  return image;
}

/** What went wrong, without the runtime's codes and advice. */
function inPlainWords(error: unknown): string {
  const { code, message } = error as Error & { code?: string };
  if (code === undefined) return message; // it is plain words
  if (message.startsWith("getaddrinfo")) return "cannot find the host";
  if (message.includes("Was there a typo")) return "cannot connect";
  // 'ResponseHeadersTooLarge fetching "http://...". For more information, ...'
  // "ENOSPC: no space left on device, write 'downloaded/br.gif...'"
  // "ECONNREFUSED: Unable to connect. Is the computer able to access ...?"
  const advice = / fetching ".*|, \w+ '.*|[.?]( .*|$)/s;
  const words = message.replace(/^\w+: /, "").replace(advice, "");
  return words.replace(/_|(?<=[a-z])(?=[A-Z])/g, " ");
}

/** For a clean-up that fails: it must not hide the failure before it. */
function ignore(): void {}

/** Writes to standard output or error, and ends the script if it cannot. */
async function print(output: Bun.BunFile, text: string): Promise<void> {
  await Bun.write(output, text).catch(() => process.exit(1));
}

/** Reports a failure in one line, and never amid the codes on a terminal. */
async function report(failure: string): Promise<void> {
  const start = process.stderr.isTTY ? "\n" : "";
  await print(Bun.stderr, `${start}${failure.replace(/\s+/g, " ")}\n`);
}

/** Says why nothing is begun, and with which status the script ends. */
async function refuse(status: number, why: string): Promise<void> {
  process.exitCode = status;
  await print(Bun.stderr, `${why}\n`);
}

// The command line.

/** Returns `undefined` if help or a usage error has said it all. */
async function readCommandLine(args: readonly string[]) {
  if (args.includes("-h") || args.includes("--help")) {
    await print(Bun.stdout, help());
    return undefined;
  }
  try {
    return parseCommandLine(args);
  } catch (error) {
    // parseArgs adds advice, "To specify ..." or "Did you ...", of no use here.
    const what = (error as Error).message.replace(/\.\s(To|Did) .*/s, "");
    await refuse(2, `${what}\nTry 'bun ${basename(Bun.main)} --help'.`);
    return undefined;
  }
}

function parseCommandLine(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      server: { type: "string", short: "s" },
      dest: { type: "string", short: "d", default: DEST_DIR },
      timeout: { type: "string", short: "t", default: `${TIMEOUT_MS / 1000}` },
      demo: { type: "boolean", default: false },
    },
  });
  const { dest: destDir, timeout, demo } = values;
  positionals.forEach(checkCode);
  if (demo && values.server) {
    throw new Error("--demo brings its own server: leave out --server");
  }
  const server = values.server ?? BASE_URL;
  if (!/^https?:\/\/[^\s?#]+$/i.test(server) || !URL.canParse(server)) {
    const what = "an http or https URL with no ? or #";
    throw new Error(`--server takes ${what}, not ${JSON.stringify(server)}`);
  }
  if (destDir === "") throw new Error("--dest takes a folder, not nothing");
  const seconds = Number(timeout);
  if (!(seconds > 0 && seconds < Infinity)) {
    const given = JSON.stringify(timeout);
    throw new Error(`--timeout takes seconds above 0, not ${given}`);
  }
  const codes = new Set(positionals.map((cc) => cc.toUpperCase()));
  const baseUrl = server.replace(/\/+$/, "");
  // AbortSignal.timeout takes no more milliseconds than that.
  const timeoutMs = Math.min(seconds * 1000, Number.MAX_SAFE_INTEGER);
  return {
    codes: codes.size > 0 ? [...codes] : POP20_CC,
    options: { baseUrl, destDir, timeoutMs },
    demo,
  };
}

function help(): string {
  return `Usage: bun ${basename(Bun.main)} [options] [CC ...]

Downloads country flags.

  CC                 two-letter country codes, in any case
                     (default: the ${POP20_CC.length} most populous countries)
  -s, --server URL   where the flags are
                     (default: ${BASE_URL})
  -d, --dest DIR     where to save them (default: ${DEST_DIR})
  -t, --timeout SEC  give up on a flag after SEC seconds
                     (default: ${TIMEOUT_MS / 1000})
      --demo         get made-up flags from a server inside the script:
                     no network needed
  -h, --help         show this help and end
`;
}

// The demo server.

/** Starts a server inside this script, slow enough to show who waits. */
function startDemoServer() {
  process.env["no_proxy"] = "127.0.0.1"; // a proxy could not reach it
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      await Bun.sleep(100);
      const cc = new URL(request.url).pathname.slice(1, 3).toUpperCase();
      return POP20_CC.includes(cc)
        ? new Response(stripes(cc))
        : new Response("no such flag", { status: 404 });
    },
  });
}

/** A GIF of 3 by 2 pixels: three stripes in colours drawn from the code. */
function stripes(cc: string): Buffer<ArrayBuffer> {
  const header = "47494638396103000200910000"; // GIF89a, 3 by 2, 4 colours
  const palette = Bun.MD5.hash(cc, "hex").slice(0, 24);
  const image = "2c00000000030002000002044428302a003b"; // two rows, the end
  return Buffer.from(header + palette + image, "hex");
}

if (import.meta.main) await main(downloadMany);
