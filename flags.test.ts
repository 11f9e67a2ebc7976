import { afterAll, describe, expect, spyOn, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";

import {
  BASE_URL,
  DEST_DIR,
  type Downloader,
  downloadMany,
  downloadOne,
  getFlag,
  main,
  POP20_CC,
  saveFlag,
} from "./flags.ts";

const FLAGS_TS = join(import.meta.dir, "flags.ts");
const ALPHABETICAL = [...POP20_CC].sort();
const POSIX = process.platform !== "win32";

// Made for these tests and good for nothing else: a certificate for localhost.
const TEST_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgngTXOyrQgWpJnL41
PfSAu0fTlYUhB/MCc+NlhPyONMKhRANCAARSakQI0BbdTmbtwiZWurBxj1TtEvk1
JZiTS2NeJV7EYNkLMcv9mUjVtNCk39t8TCiZorBoaaJAQe2ppKr8Xf7K
-----END PRIVATE KEY-----`;
const TEST_CERT = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUbl+Q+QEZu9Mcoa4nQZM94rbEEvswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE0MDYxNVoYDzIxMjYxMDMw
MTQwNjE1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARSakQI0BbdTmbtwiZWurBxj1TtEvk1JZiTS2NeJV7EYNkLMcv9mUjV
tNCk39t8TCiZorBoaaJAQe2ppKr8Xf7Ko28wbTAdBgNVHQ4EFgQUm3DTnUXbY8+f
TNp3PkQNxUYVbNswHwYDVR0jBBgwFoAUm3DTnUXbY8+fTNp3PkQNxUYVbNswDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgDX33TiOyoshohnKiGK6UZwPzCimcccuUUorXJHiddAQCIQDC
EUfzbktgZY9/SkPbB/UIW/bYuwgJLL9bkf95FHbHbQ==
-----END CERTIFICATE-----`;

// Whoever runs these tests may have a proxy. It is not to be asked.
for (const name of Object.keys(process.env)) {
  if (/_proxy$/i.test(name)) delete process.env[name];
}

const root = mkdtempSync(join(tmpdir(), "flags-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A new, empty folder. */
function folder(): string {
  return mkdtempSync(join(root, "folder-"));
}

/** A folder with a copy of flags.ts and nothing else. */
function alone(): string {
  const cwd = folder();
  copyFileSync(FLAGS_TS, join(cwd, "flags.ts"));
  return cwd;
}

/** What the servers here have for a country: 4 kB in the shape of a GIF. */
function image(cc: string): Buffer<ArrayBuffer> {
  return Buffer.from(`GIF89a${cc.toLowerCase().repeat(2000)};`);
}

/** What a folder holds once the flags of `codes` are saved in it. */
function flags(codes: readonly string[]): Record<string, Buffer> {
  const entry = (cc: string) => [`${cc.toLowerCase()}.gif`, image(cc)] as const;
  return Object.fromEntries(codes.map(entry));
}

/** What a folder holds. */
function contents(path: string): Record<string, Buffer> {
  const entry = (name: string) =>
    [name, readFileSync(join(path, name))] as const;
  return Object.fromEntries(readdirSync(path).map(entry));
}

/** A server like the book's, that takes notes. */
function flagServer(reply = (cc: string): Response => new Response(image(cc))) {
  const asked: string[] = [];
  const clients = new Set<number | undefined>();
  let now = 0;
  let most = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      asked.push(pathname);
      clients.add(server.requestIP(request)?.port);
      most = Math.max(most, ++now);
      await Bun.sleep(1);
      now--;
      return reply(pathname.slice(-6, -4));
    },
  });
  return {
    url: `${server.url.origin}/flags`,
    asked,
    notes: () => ({ atOnce: most, connections: clients.size }),
    [Symbol.dispose]: () => void server.stop(true),
  };
}

/** What a socket's client gets: bytes and the end, or whatever is done to it. */
type Fault = Buffer | ((socket: net.Socket, request: string) => unknown);

/** A server with the flags of all countries but BR, where there is a fault. */
async function faultyServer(fault: Fault) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {}); // clients may hang up
    socket.on("data", (data) => {
      const request = String(data);
      const cc = /^GET \/(..)\/\1\.gif /.exec(request)?.[1] ?? "br";
      if (cc !== "br") socket.write(http("200 OK", image(cc)));
      else if (typeof fault === "function") fault(socket, request);
      else socket.end(fault);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    sockets,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** An answer as it goes over the wire. */
function http(
  status: string,
  body: string | Uint8Array = "",
  headers = [`Content-Length: ${body.length}`],
): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

function redirect(url: string): Buffer {
  return http("302 Found", "", [`Location: ${url}`, "Content-Length: 0"]);
}

interface RunOptions {
  script?: string;
  cwd?: string;
  env?: Record<string, string>;
  stdout?: "pipe" | number;
  stderr?: "pipe" | number;
}

/** Starts the script as a user does. */
function start(
  args: string[],
  { script = FLAGS_TS, cwd = folder(), env = {}, ...output }: RunOptions = {},
) {
  return Bun.spawn([process.execPath, script, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdout: output.stdout ?? "pipe",
    stderr: output.stderr ?? "pipe",
  });
}

/** Runs the script as a user does. */
async function run(args: string[], options?: RunOptions) {
  const child = start(args, options);
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exited,
  ]);
  return { stdout: untimed(stdout), stderr, status };
}

/** What comes through a pipe; nothing where the output went elsewhere. */
function text(output: ReadableStream | number | undefined): Promise<string> {
  return new Response(output instanceof ReadableStream ? output : "").text();
}

/** Takes the one thing out that differs from run to run. */
function untimed(output: string): string {
  return output.replace(/ in \d+\.\d\ds\n$/, " in #s\n");
}

/** Runs the script on a terminal and returns what stands on the screen. */
async function screen(script: string, args: string[], cwd: string) {
  const decoder = new TextDecoder();
  let shown = "";
  const terminal = {
    data(_: unknown, bytes: Uint8Array) {
      shown += decoder.decode(bytes, { stream: true });
    },
  };
  const command = [process.execPath, script, ...args];
  await Bun.spawn(command, { cwd, terminal }).exited;
  return shown.replaceAll("\r\n", "\n");
}

/** Runs something in this process and takes what it writes. */
async function captured<T>(action: () => Promise<T>) {
  const real = { stdout: Bun.stdout, stderr: Bun.stderr };
  const [out, err] = [join(folder(), "out"), join(folder(), "err")];
  const [stdout, stderr] = [out, err].map((p) => Bun.file(openSync(p, "w")));
  Object.assign(Bun, { stdout, stderr });
  try {
    const result = await action();
    return {
      result,
      stdout: readFileSync(out, "utf8"),
      stderr: readFileSync(err, "utf8"),
    };
  } finally {
    Object.assign(Bun, real);
  }
}

/** Calls `main` in this process. */
async function callMain(downloader: Downloader, args: string[]) {
  try {
    const { stdout, stderr } = await captured(() => main(downloader, args));
    return { stdout, stderr, status: process.exitCode ?? 0 };
  } finally {
    process.exitCode = 0; // or else it would be that of the test run
  }
}

// Proxies that nobody listens at, and an exception that does not matter here.
const PROXIES = {
  HTTP_PROXY: "http://127.0.0.1:1",
  ALL_PROXY: "http://127.0.0.1:1",
  no_proxy: "elsewhere.test",
};

describe.concurrent("bun flags.ts", () => {
  test("saves the 20 flags in downloaded/, byte for byte", async () => {
    using server = flagServer();
    const cwd = folder();
    expect(await run(["--server", server.url], { cwd })).toEqual({
      stdout: `${ALPHABETICAL.join(" ")} \n20 downloads in #s\n`,
      stderr: "",
      status: 0,
    });
    expect(contents(join(cwd, "downloaded"))).toEqual(flags(POP20_CC));
  });

  test("asks for one at a time, in order, over one connection", async () => {
    using server = flagServer();
    await run(["--server", server.url]);
    const codes = ALPHABETICAL.map((cc) => cc.toLowerCase());
    expect(server.asked).toEqual(codes.map((cc) => `/flags/${cc}/${cc}.gif`));
    expect(server.notes()).toEqual({ atOnce: 1, connections: 1 });
  });

  test("shows each code as soon as its file is saved", async () => {
    const cwd = folder();
    const output = join(cwd, "output");
    const seen: string[] = [];
    using server = flagServer((cc) => {
      const files = readdirSync(cwd).filter((name) => name !== "output");
      seen.push(`${readFileSync(output, "utf8")}${files.sort()}`);
      return new Response(image(cc));
    });
    const args = ["-s", server.url, "-d", ".", "br", "cn", "us"];
    await start(args, { cwd, stdout: openSync(output, "w") }).exited;
    expect(seen).toEqual(["", "BR br.gif", "BR CN br.gif,cn.gif"]);
  });

  test("asks the book's site, and if that fails hints at --demo", async () => {
    const requests: string[] = [];
    using proxy = await faultyServer((socket, request) => {
      requests.push(request);
      socket.end(http("502 Bad Gateway"));
    });
    const env = { HTTPS_PROXY: proxy.url };
    const { stdout, stderr, status } = await run(["br", "cn"], { env });
    expect(requests[0]).toStartWith("CONNECT www.fluentpython.com:443 ");
    expect(stdout).toBe("\n0 downloads in #s\n");
    expect(stderr.replaceAll("https://www.fluentpython.com/data", "")).toMatch(
      /^BR: .+: \/flags\/br\/br.gif\nCN: .+: \/flags\/cn\/cn.gif\n.*--demo.*\n$/,
    );
    expect(status).toBe(1);
  });

  test("takes codes in any case and repeats once", async () => {
    using server = flagServer();
    const cwd = folder();
    const args = ["us", "-d", "a/b", "Br", "-t", "5", "US", "-s", server.url];
    expect(await run(args, { cwd })).toEqual({
      stdout: "BR US \n2 downloads in #s\n",
      stderr: "",
      status: 0,
    });
    expect(contents(join(cwd, "a", "b"))).toEqual(flags(["BR", "US"]));
  });

  test("takes a server with a slash at its end", async () => {
    using server = flagServer();
    expect((await run(["br", "--server", `${server.url}/`])).status).toBe(0);
    expect(server.asked).toEqual(["/flags/br/br.gif"]);
  });

  test("ends with two lines and status 2 on a usage error", async () => {
    const cwd = folder();
    expect(await run(["br", "B1"], { cwd })).toEqual({
      stdout: "",
      stderr: `not a two-letter code: "B1"\nTry 'bun flags.ts --help'.\n`,
      status: 2,
    });
    expect(contents(cwd)).toEqual({});
  });

  test("--help shows options and defaults in 80 columns", async () => {
    const script = join(folder(), "renamed.ts");
    copyFileSync(FLAGS_TS, script);
    const { stdout, stderr, status } = await run(["--help"], { script });
    expect(stdout).toStartWith("Usage: bun renamed.ts [options] [CC ...]\n");
    for (const part of `-s, --server
      -d, --dest
      -t, --timeout
      --demo
      -h, --help
      20 most populous
      ${BASE_URL}
      ${DEST_DIR}
      6.1`.split(/\n +/)) {
      expect(stdout).toContain(part);
    }
    for (const line of stdout.split("\n")) {
      expect(line.length).toBeLessThanOrEqual(80);
    }
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  });

  test("--demo needs flags.ts alone, no network and no proxy", async () => {
    const cwd = alone();
    const began = performance.now();
    const options = { script: "flags.ts", cwd, env: PROXIES };
    expect(await run(["--demo"], options)).toEqual({
      stdout: `${ALPHABETICAL.join(" ")} \n20 downloads in #s\n`,
      stderr: "",
      status: 0,
    });
    expect(performance.now() - began).toBeWithin(2000, 4000);
    const saved = contents(join(cwd, "downloaded"));
    expect(Object.keys(saved).sort()).toEqual(Object.keys(flags(ALPHABETICAL)));
    for (const gif of Object.values(saved)) {
      const picture = new Bun.Image(gif);
      const { format, width, height } = await picture.metadata();
      expect({ format, width, height }).toEqual({
        format: "gif",
        width: 3,
        height: 2,
      });
      expect(await picture.png().bytes()).not.toBeEmpty(); // it decodes
    }
    const different = new Set(Object.values(saved).map(String));
    expect(different.size).toBe(20);
  });

  test("--demo has no flags but the 20", async () => {
    const { stdout, stderr, status } = await run(["--demo", "ch"]);
    expect(stdout).toBe("\n0 downloads in #s\n");
    expect(stderr).toMatch(/^CH: HTTP 404 Not Found: \S+\/ch\/ch\.gif\n$/);
    expect(status).toBe(1);
  });

  test("does nothing when it is imported", async () => {
    const cwd = alone();
    const script = join(cwd, "importer.ts");
    writeFileSync(script, `import "./flags.ts";`);
    expect(await run(["--demo"], { cwd, script })).toEqual({
      stdout: "",
      stderr: "",
      status: 0,
    });
    expect(readdirSync(cwd).sort()).toEqual(["flags.ts", "importer.ts"]);
  });
});

describe("main", () => {
  const noDownloader: Downloader = () => expect.unreachable();

  test.serial(
    "gives any downloader codes and options, counts and times",
    async () => {
      const dest = join(folder(), "new");
      const args = ["us", "BR", "--dest", dest, "--timeout", "1.5"];
      const given: unknown[] = [];
      const result = await callMain(async (codes, options) => {
        given.push(codes, options, existsSync(dest));
        await Bun.sleep(250);
        return 1;
      }, args);
      expect(given).toEqual([
        ["US", "BR"],
        { baseUrl: BASE_URL, destDir: dest, timeoutMs: 1500 },
        true,
      ]);
      expect(result).toEqual({
        stdout: expect.stringMatching(
          /^\n1 download in 0\.(2[5-9]|[3-9]\d)s\n$/,
        ),
        stderr: "",
        status: 1,
      });
    },
  );

  test.serial("has the defaults of the book", async () => {
    const cwd = process.cwd();
    process.chdir(folder());
    try {
      const result = await callMain(async (codes, options) => {
        expect([...codes].join(" ")).toBe(
          "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR",
        );
        expect(options).toEqual({
          baseUrl: "https://www.fluentpython.com/data/flags",
          destDir: "downloaded",
          timeoutMs: 6100,
        });
        return 20;
      }, []);
      expect(result.status).toBe(0);
    } finally {
      process.chdir(cwd);
    }
  });

  test.serial.each([
    ["an unknown option", ["--nonsense"], "--nonsense"],
    ["an option without its value", ["--dest"], "--dest"],
    ["an option for a value", ["--dest", "--demo"], "--dest"],
    ["a value for a switch", ["--demo=yes"], "--demo"],
    ["a code with a digit", ["br", "B1"], '"B1"'],
    ["a code of three letters", ["BRA"], '"BRA"'],
    ["a code with other letters", ["ÅL"], '"ÅL"'],
    ["a code that grows in upper case", ["ß"], '"ß"'],
    ["a code with a newline", ["br\n"], '"br\\n"'],
    ["a code that is a sentence", ["a. b"], '"a. b"'],
    ["a path for a code", ["../x"], '"../x"'],
    ["an empty code", [""], '""'],
    ["a timeout of zero", ["--timeout", "0"], '"0"'],
    ["a negative timeout", ["--timeout=-1"], '"-1"'],
    ["an infinite timeout", ["-t", "Infinity"], '"Infinity"'],
    ["a timeout in words", ["-t", "soon"], '"soon"'],
    ["an empty timeout", ["-t", ""], '""'],
    ["a server that is no URL", ["-s", "example.test"], '"example.test"'],
    ["a server without a host", ["-s", "http://"], '"http://"'],
    ["a server that is not for HTTP", ["-s", "ftp://x.test"], '"ftp://x.test"'],
    ["a server with a query", ["-s", "http://x.test/?"], '"http://x.test/?"'],
    ["a server with a fragment", ["-s", "http://x.test/#a"], "#a"],
    ["a server with a space", ["-s", "http://x.test/ "], '"http://x.test/ "'],
    ["a server with a bad port", ["-s", "http://x.test:x"], "http://x.test:x"],
    ["an empty server", ["--server="], '""'],
    ["an empty folder name", ["--dest", ""], "--dest"],
    ["--demo with a server", ["--demo", "-s", "http://x.test"], "--server"],
    ["--demo with an empty server", ["--demo", "--server="], "--server"],
  ])(
    "refuses %s before anything is asked for or made",
    async (_, args, what) => {
      const dest = join(folder(), "new");
      const { stdout, stderr, status } = await callMain(noDownloader, [
        ...["--dest", dest],
        ...args,
      ]);
      const [first, second, ...rest] = stderr.split("\n");
      expect(first).toContain(what);
      expect(first!.length).toBeLessThanOrEqual(80);
      expect(second).toBe(`Try 'bun ${basename(Bun.main)} --help'.`);
      expect({ stdout, rest, status }).toEqual({
        stdout: "",
        rest: [""],
        status: 2,
      });
      expect(existsSync(dest)).toBe(false);
    },
  );

  test.serial.each([
    [["-h"]],
    [["--nonsense", "--help"]],
    [["--server", "--help"]],
    [["B1", "--demo", "-s", "", "-h"]],
  ])("shows help and no more for %j", async (args) => {
    const { stdout, stderr, status } = await callMain(noDownloader, args);
    expect(stdout).toStartWith("Usage: ");
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  });

  test.serial("hints at --demo when the book's site gave nothing", async () => {
    const dest = ["--dest", folder()];
    const nothing = async () => 0;
    const { stderr } = await callMain(nothing, ["br", ...dest]);
    expect(stderr).toMatch(/^.*--demo.*no.*network.*\n$/);
    const elsewhere = ["--server", "http://127.0.0.1:1"];
    for (const args of [elsewhere, ["--demo"]]) {
      expect(await callMain(nothing, [...args, ...dest])).toMatchObject({
        stderr: "",
        status: 1,
      });
    }
    expect((await callMain(async () => 1, ["br", "cn", ...dest])).stderr).toBe(
      "",
    );
  });

  test.serial("accepts a very long time limit", async () => {
    using server = flagServer();
    const dest = folder();
    const args = ["br", "-s", server.url, "-d", dest, "-t", "1e300"];
    expect((await callMain(downloadMany, args)).status).toBe(0);
  });

  test.serial("asks nobody when the folder cannot be made", async () => {
    const file = join(folder(), "file");
    writeFileSync(file, "");
    for (const dest of [file, join(file, "sub")]) {
      const args = ["br", "--dest", dest];
      const { stdout, stderr, status } = await callMain(noDownloader, args);
      expect(stderr).toMatch(/^[a-z ]+: .+\n$/);
      expect(stderr).toEndWith(`: ${dest}\n`);
      expect({ stdout, status }).toEqual({ stdout: "", status: 1 });
    }
  });

  test.serial("stops the demo server at the end", async () => {
    const args = ["--demo", "br", "ch", "--dest", folder()];
    let url = "";
    await callMain((codes, options) => {
      url = options.baseUrl;
      return downloadMany(codes, options);
    }, args);
    delete process.env["no_proxy"]; // which main set
    expect(url).toStartWith("http://127.0.0.1:");
    await expect(fetch(url)).rejects.toThrow();
  });

  test.serial("ends the script when its output is lost", async () => {
    const exit = spyOn(process, "exit").mockImplementation(() => {
      throw new Error("exit");
    });
    const { stdout } = Bun;
    Object.assign(Bun, { stdout: Bun.file(folder()) }); // cannot be written
    try {
      await expect(main(noDownloader, ["--help"])).rejects.toThrow("exit");
      expect(exit).toHaveBeenCalledWith(1);
    } finally {
      Object.assign(Bun, { stdout });
      exit.mockRestore();
    }
  });
});

describe("saveFlag", () => {
  test("saves in downloaded/ of the working directory", async () => {
    const cwd = alone();
    const script = join(cwd, "save.ts");
    writeFileSync(
      script,
      `import { saveFlag } from "./flags.ts";
      await saveFlag(new Uint8Array([1, 2, 3]), "x.gif");`,
    );
    expect((await run([], { cwd, script })).stderr).toBe("");
    expect(contents(join(cwd, "downloaded"))).toEqual({
      "x.gif": Buffer.from([1, 2, 3]),
    });
  });

  test("replaces an older file, whole", async () => {
    const destDir = folder();
    writeFileSync(join(destDir, "br.gif"), image("br").toString().repeat(2));
    await saveFlag(image("br"), "br.gif", { destDir });
    expect(contents(destDir)).toEqual(flags(["BR"]));
  });

  test("saves one name many times at once", async () => {
    const destDir = folder();
    const save = () => saveFlag(image("br"), "br.gif", { destDir });
    await Promise.all(Array.from({ length: 50 }, save));
    expect(contents(destDir)).toEqual(flags(["BR"]));
  });

  test.skipIf(!POSIX)("replaces a link, not its target", async () => {
    const destDir = folder();
    const target = join(folder(), "target");
    writeFileSync(target, "precious");
    symlinkSync(target, join(destDir, "br.gif"));
    await saveFlag(image("br"), "br.gif", { destDir });
    expect(lstatSync(join(destDir, "br.gif")).isFile()).toBe(true);
    expect(readFileSync(target, "utf8")).toBe("precious");
  });

  test("throws the cause in plain words and the path, and leaves nothing", async () => {
    const destDir = folder();
    const path = join(destDir, "br.gif");
    mkdirSync(path);
    const error = await saveFlag(image("br"), "br.gif", { destDir }).catch(
      (error: Error) => error,
    );
    expect(error?.message).toMatch(/^[a-z ]+: /);
    expect(error?.message).toEndWith(`: ${path}`);
    expect(error?.cause).toHaveProperty("code");
    expect(readdirSync(destDir)).toEqual(["br.gif"]);

    const file = join(destDir, "file");
    writeFileSync(file, "");
    await expect(
      saveFlag(image("br"), "br.gif", { destDir: file }),
    ).rejects.toThrow(/^[a-z ]+: .*br\.gif$/);
  });
});

describe("getFlag", () => {
  test("returns the bytes of a code in either case", async () => {
    using server = flagServer();
    const options = { baseUrl: server.url };
    expect(Buffer.from(await getFlag("br", options))).toEqual(image("br"));
    expect(Buffer.from(await getFlag("Br", options))).toEqual(image("br"));
    expect(server.asked).toEqual(Array(2).fill("/flags/br/br.gif"));
  });

  test("throws RangeError for a bad code, and asks nobody", async () => {
    using server = flagServer();
    const options = { baseUrl: server.url };
    for (const cc of ["../x", "", "B1", "B", "BRA", "br\n", "\u212Ae", "ß"]) {
      await expect(getFlag(cc, options)).rejects.toBeInstanceOf(RangeError);
    }
    expect(server.asked).toEqual([]);
  });

  test("throws the cause and the URL, with the runtime's error", async () => {
    const baseUrl = "http://127.0.0.1:1";
    const error = await getFlag("BR", { baseUrl }).catch((error) => error);
    expect(error.message).toMatch(/^[\w ]*connect[\w ]*: http:/);
    expect(error.message).toEndWith(": http://127.0.0.1:1/br/br.gif");
    expect(error.cause).toBeInstanceOf(Error);
  });

  test.serial("asks the book's site, and gives up after 6.1 s", async () => {
    const requests: string[] = [];
    using proxy = await faultyServer((socket, request) => {
      requests.push(request);
      socket.end(http("502 Bad Gateway"));
    });
    const timeout = spyOn(AbortSignal, "timeout");
    process.env["HTTPS_PROXY"] = proxy.url;
    try {
      await expect(getFlag("br")).rejects.toThrow(`: ${BASE_URL}/br/br.gif`);
      expect(timeout.mock.calls).toEqual([[6100]]);
    } finally {
      timeout.mockRestore();
      delete process.env["HTTPS_PROXY"];
    }
    expect(requests[0]).toStartWith("CONNECT www.fluentpython.com:443 ");
  });

  test("throws what the limit was, and that there was no complete GIF", async () => {
    using slow = await faultyServer(() => {});
    const late = getFlag("br", { baseUrl: slow.url, timeoutMs: 50 });
    await expect(late).rejects.toThrow(
      `no complete answer within 0.05 s: ${slow.url}/br/br.gif`,
    );
    using page = flagServer(() => new Response("<h1>Log in</h1>"));
    await expect(getFlag("br", { baseUrl: page.url })).rejects.toThrow(
      `not a complete GIF: ${page.url}/br/br.gif`,
    );
  });

  test("leaves no connection open after failures with long bodies", async () => {
    const page = http("404 Not Found", "x".repeat(9999), [
      "Content-Length: 1000000",
    ]);
    using server = await faultyServer((socket) => socket.write(page));
    for (let i = 0; i < 100; i++) {
      const answer = getFlag("br", { baseUrl: server.url });
      await expect(answer).rejects.toThrow("404");
    }
    await Bun.sleep(50);
    expect(server.sockets.size).toBeLessThan(5);
  });
});

describe("downloadOne", () => {
  test.serial("saves and shows one flag", async () => {
    using server = flagServer();
    const options = { baseUrl: server.url, destDir: folder() };
    expect(await captured(() => downloadOne("br", options))).toEqual({
      result: true,
      stdout: "BR ",
      stderr: "",
    });
    expect(contents(options.destDir)).toEqual(flags(["BR"]));
  });

  test.serial("reports a bad code in one line and writes nothing", async () => {
    using server = flagServer();
    const outside = folder();
    const options = { baseUrl: server.url, destDir: join(outside, "inside") };
    for (const cc of ["../x", "", "B1", "br\nx"]) {
      const ran = await captured(() => downloadOne(cc, options));
      expect(ran.stderr.trim()).toStartWith(
        `${cc.toUpperCase().replace("\n", " ")}: not a two-letter code`,
      );
      expect(ran.stderr.trim()).not.toContain("\n");
      expect(ran).toMatchObject({ result: false, stdout: "" });
    }
    expect(readdirSync(outside)).toEqual([]);
    expect(server.asked).toEqual([]);
  });
});

describe("downloadMany", () => {
  test.serial(
    "goes by the alphabet in any case, and counts what it saved",
    async () => {
      using server = flagServer((cc) =>
        cc === "cn"
          ? new Response("", { status: 404 })
          : new Response(image(cc)),
      );
      const options = { baseUrl: server.url, destDir: folder() };
      const codes = Object.freeze(["us", "BR", "VN", "cn"]);
      const ran = await captured(() => downloadMany(codes, options));
      expect(ran).toMatchObject({ result: 3, stdout: "BR US VN " });
      expect(ran.stderr.trim()).toMatch(/^CN: HTTP 404 Not Found: \S+$/);
      expect(contents(options.destDir)).toEqual(flags(["BR", "US", "VN"]));
    },
  );
});

describe.concurrent("when things go wrong", () => {
  const words = (about: string) => `[A-Za-z ]*${about}[A-Za-z ]*`;
  const CLOSED = words("closed");
  const LATE = "no complete answer within 1 s";
  const NO_GIF = "not a complete GIF";
  const gif = image("br");
  const half = gif.subarray(0, 2000);
  const length = `Content-Length: ${gif.length}`;
  const gzip = "Content-Encoding: gzip";
  const longName = `${"x".repeat(64)}.test`; // refused without a look-up

  const secure = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { key: TEST_KEY, cert: TEST_CERT },
    fetch: () => new Response(gif),
  });
  afterAll(() => secure.stop(true));
  const secureUrl = `https://localhost:${secure.port}/`;

  test.each<[string, Fault, string]>([
    ["404 with an image", http("404 Not Found", gif), "HTTP 404 Not Found"],
    ["404 cut short", http("404 Nope", half, [length]), "HTTP 404 Nope"],
    ["418", http("418 I'm a teapot"), "HTTP 418 I'm a teapot"],
    ["500", http("500 Oh: no_Way. Sir"), "HTTP 500 Oh: no_Way. Sir"],
    ["503", http("503 Busy"), "HTTP 503 Busy"],
    ["599 with no reason", http("599 "), "HTTP 599"],
    ["304", http("304 Not Modified", "", []), "HTTP 304 Not Modified"],
    ["204", http("204 No Content", "", []), NO_GIF],
    ["a redirect with no target", http("302 Found"), "HTTP 302 Found"],
    ["a redirect in a loop", redirect("/br/br.gif"), words("redirected")],
    [
      "a redirect to a local file",
      redirect(Bun.pathToFileURL(FLAGS_TS).href),
      words("Redirect"),
    ],
    ["nobody listening", redirect("http://127.0.0.1:1"), words("connect")],
    ["no such host", redirect(`http://${longName}`), words("host")],
    ["an untrusted certificate", redirect(secureUrl), words("certificate")],
    ["an empty answer", http("200 OK"), NO_GIF],
    ["a login page", http("200 OK", "<h1>Log in</h1>"), NO_GIF],
    [
      "a login page labelled as a GIF",
      http("200 OK", "<h1>Log in</h1>", ["Content-Type: image/gif"]),
      NO_GIF,
    ],
    ["a body without its end", http("200 OK", half, []), NO_GIF],
    ["a body without its start", http("200 OK", gif.subarray(9)), NO_GIF],
    ["a body below its length", http("200 OK", half, [length]), CLOSED],
    [
      "a body with a chunk cut short",
      http("200 OK", `fff\r\n${half}`, ["Transfer-Encoding: chunked"]),
      CLOSED,
    ],
    ["a reset before the answer", (socket) => socket.resetAndDestroy(), CLOSED],
    [
      "a reset amid the body",
      (socket) =>
        socket.write(http("200 OK", half, [length]), () =>
          setTimeout(() => socket.resetAndDestroy(), 50),
        ),
      CLOSED,
    ],
    ["a connection closed at once", Buffer.from(""), CLOSED],
    [
      "an answer that is not HTTP",
      (socket) => socket.write("220 mail.test ESMTP at your service\r\n"),
      words("HTTP"),
    ],
    ["broken gzip", http("200 OK", "no gzip", [gzip]), NO_GIF],
    [
      "gzip without its end",
      http("200 OK", gzipSync(gif).subarray(0, 30), [gzip]),
      words("Zlib"),
    ],
    [
      "a header of 4 MiB",
      http("200 OK", gif, [`X: ${"x".repeat(4 << 20)}`]),
      words("Headers"),
    ],
    ["no answer", () => {}, LATE],
    ["a stall amid the head", (socket) => socket.write("HTTP/1.1 200"), LATE],
    [
      "a stall amid the body",
      (socket) => socket.write(http("200 OK", half, [length])),
      LATE,
    ],
    [
      "a drip of single bytes",
      (socket) => {
        socket.write(http("200 OK", "", [length]));
        const drip = setInterval(() => socket.write("G"), 50);
        socket.on("close", () => clearInterval(drip));
      },
      LATE,
    ],
  ])("%s costs one flag, one line and no file", async (_, fault, cause) => {
    using server = await faultyServer(fault);
    const cwd = folder();
    writeFileSync(join(cwd, "br.gif"), "older");
    const limit = cause === LATE ? "1" : "9";
    const args = ["-s", server.url, "-d", ".", "-t", limit, "br", "cn", "us"];
    const began = performance.now();
    const { stdout, stderr, status } = await run(args, { cwd });
    expect(performance.now() - began).toBeLessThan(4000);
    expect(stderr).toMatch(RegExp(`^BR: ${cause}: ${server.url}/br/br.gif\n$`));
    expect(stdout).toBe("CN US \n2 downloads in #s\n");
    expect(status).toBe(1);
    expect(contents(cwd)).toEqual({
      ...flags(["CN", "US"]),
      "br.gif": Buffer.from("older"),
    });
  });

  test.each<[string, Fault]>([
    ["a redirect", redirect("/us/us.gif")],
    ["a redirect to https", redirect(secureUrl)],
    ["gzip", http("200 OK", gzipSync(gif), [gzip])],
    ["no Content-Length", http("200 OK", gif, [])],
    ["a wrong Content-Type", http("200 OK", gif, ["Content-Type: text/html"])],
    ["a close without notice", http("200 OK", gif)],
    [
      "an answer that is late but in time",
      (socket) => setTimeout(() => socket.write(http("200 OK", gif)), 500),
    ],
  ])("%s goes well", async (_, fault) => {
    using server = await faultyServer(fault);
    const cwd = folder();
    const ca = join(folder(), "ca.pem");
    writeFileSync(ca, TEST_CERT);
    const env = { NODE_EXTRA_CA_CERTS: ca };
    const args = ["-s", server.url, "-d", ".", "br", "cn"];
    expect(await run(args, { cwd, env })).toEqual({
      stdout: "BR CN \n2 downloads in #s\n",
      stderr: "",
      status: 0,
    });
    expect(readdirSync(cwd).sort()).toEqual(["br.gif", "cn.gif"]);
  });

  test.skipIf(!POSIX)("a full disk costs no older flag", async () => {
    using server = flagServer();
    const cwd = folder();
    writeFileSync(join(cwd, "br.gif"), "older");
    // Files are cut at 512 or 1,024 bytes, like on a disk that is full.
    const limited = `trap "" XFSZ; ulimit -f 1; exec "$0" "$@"`;
    const child = Bun.spawn(
      [
        ...["sh", "-c", limited, process.execPath, FLAGS_TS],
        ...["-s", server.url, "-d", ".", "br"],
      ],
      { cwd, stdout: "pipe", stderr: "pipe" },
    );
    expect(await child.stderr.text()).toMatch(/^BR: [a-z ]+: br\.gif\n$/);
    expect(await child.exited).toBe(1);
    expect(contents(cwd)).toEqual({ "br.gif": Buffer.from("older") });
  });

  test.skipIf(!POSIX)("a kill leaves whole flags only", async () => {
    const cwd = folder();
    let child: ReturnType<typeof start> | undefined;
    let left = 0; // requests before the kill
    using server = flagServer((cc) => {
      if (left-- === 0) setTimeout(() => child?.kill("SIGKILL"), 1);
      return new Response(image(cc));
    });
    for (let asked = 1; asked <= 20; asked++) {
      left = asked;
      child = start(["-s", server.url, "-d", "."], { cwd });
      await child.exited;
    }
    const names = readdirSync(cwd).filter((name) => name.endsWith(".gif"));
    expect(names).not.toBeEmpty();
    const codes = names.map((name) => name.slice(0, 2));
    expect(contents(cwd)).toMatchObject(flags(codes));
  });

  test.skipIf(!POSIX)(
    "Ctrl-C ends the script at once, without a word",
    async () => {
      const child = Bun.spawn([process.execPath, FLAGS_TS, "--demo"], {
        cwd: folder(),
        stdout: "pipe",
        stderr: "pipe",
      });
      await child.stdout.getReader().read(); // it is amid its work
      child.kill("SIGINT");
      await child.exited;
      expect(child.signalCode).toBe("SIGINT");
      expect(await child.stderr.text()).toBe("");
    },
  );

  test("three runs into one folder at once all succeed", async () => {
    using server = flagServer();
    const cwd = folder();
    const args = ["-s", server.url, "-d", "."];
    const runs = [1, 2, 3].map(() => run(args, { cwd }));
    for (const { status } of await Promise.all(runs)) expect(status).toBe(0);
    expect(contents(cwd)).toEqual(flags(POP20_CC));
  });

  test.skipIf(!POSIX)(
    "output that goes away ends the script with status 1",
    async () => {
      const status = join(folder(), "status");
      const line = `("$0" "$@"; echo $? >'${status}') | head -c 3`;
      const child = Bun.spawn(
        ["sh", "-c", line, process.execPath, FLAGS_TS, "--demo"],
        { cwd: folder(), stdout: "pipe", stderr: "pipe" },
      );
      expect(await child.stdout.text()).toBe("BD ");
      expect(await child.stderr.text()).toBe("");
      expect(readFileSync(status, "utf8")).toBe("1\n");
    },
  );

  test.skipIf(!existsSync("/dev/full")).each([
    ["codes", "stdout", ["--demo", "br"]],
    ["help", "stdout", ["--help"]],
    ["a usage error", "stderr", ["B1"]],
    ["a failure", "stderr", ["--demo", "ch"]],
  ] as const)("no room for %s on %s gives status 1", async (_, name, args) => {
    const full = { [name]: openSync("/dev/full", "w") };
    const { stdout, stderr, status } = await run([...args], full);
    expect({ stdout, stderr, status }).toEqual({
      stdout: "",
      stderr: "",
      status: 1,
    });
  });

  test.skipIf(!POSIX)(
    "on a terminal, a failure starts at the left edge",
    async () => {
      using server = await faultyServer(http("404 Not Found"));
      const args = ["-s", server.url, "au", "br", "us"];
      expect(untimed(await screen(FLAGS_TS, args, folder()))).toBe(
        `AU \nBR: HTTP 404 Not Found: ${server.url}/br/br.gif\n` +
          "US \n2 downloads in #s\n",
      );
    },
  );
});

const README = join(import.meta.dir, "README.md");
describe.concurrent.skipIf(!existsSync(README))("README.md", () => {
  const readme = existsSync(README) ? readFileSync(README, "utf8") : "";
  const blocks = (language: string) =>
    [...readme.matchAll(RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(
      ([, block]) => block!,
    );

  /** A folder with a copy of flags.ts and the scripts of the page. */
  function example(): string {
    const cwd = alone();
    for (const block of blocks("ts")) {
      const name = /^\/\/ (\w+\.ts)\n/.exec(block)![1]!;
      writeFileSync(join(cwd, name), block);
    }
    return cwd;
  }

  /** Sets apart what differs from run to run: order, time and port. */
  function comparable(output: string) {
    return {
      codes: output.match(/\b[A-Z]{2}\b(?!:)/g)?.sort(),
      seconds: Number(/ in (\d+\.\d\d)s/.exec(output)?.[1] ?? 0),
      rest: output
        .replace(/^([A-Z]{2} ?)+$/gm, "(codes)")
        .replace(/ in \d+\.\d\ds/, "")
        .replace(/127\.0\.0\.1:\d+/, "127.0.0.1")
        .replace(/ +$/gm, "")
        .trim(),
    };
  }

  const shown = blocks("console").flatMap((block) =>
    [...block.matchAll(/^\$ bun (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(
      ([, command, output]) => [command!, output!] as const,
    ),
  );
  test.skipIf(!POSIX).each(shown)(
    "shows what bun %s prints",
    async (command, output) => {
      const [script = "", ...args] = command.split(" ");
      const real = comparable(await screen(script, args, example()));
      const { seconds, ...rest } = comparable(output);
      expect(real).toMatchObject(rest);
      expect(real.seconds).toBeWithin(seconds - 0.1, seconds + 1);
    },
  );

  test("draws in its chart the seconds that it shows", () => {
    const bars = /^ +bar \[(.*)\]$/m.exec(readme)![1]!.split(", ");
    const seconds = shown.map(([, output]) => comparable(output).seconds);
    for (const bar of bars) expect(seconds).toContain(Number(bar));
  });

  const ci = join(import.meta.dir, ".ci", "run");
  test.skipIf(!existsSync(ci))("names the version of Bun that CI uses", () => {
    const read = (name: string) =>
      readFileSync(join(import.meta.dir, name), "utf8");
    const { devDependencies } = JSON.parse(read("package.json"));
    const bun = `npx --yes bun@${devDependencies["@types/bun"]} `;
    for (const text of [readme, read(".ci/run")]) {
      expect(text.match(/^npx .*bun.*? /gm)).not.toBeEmpty();
      expect(new Set(text.match(/^npx .*bun.*? /gm))).toEqual(new Set([bun]));
      expect(text).toContain(`\n${bun}test\n`);
    }
    expect(readme).toContain(`\n${bun}flags.ts --demo\n`);
  });

  test.each([
    ["3", 3],
    ["", 5],
  ])("bounded.ts %s asks for %d at a time", async (n, most) => {
    using server = flagServer();
    const args = [...(n ? [n] : []), "-s", server.url];
    const options = { cwd: example(), script: "bounded.ts" };
    expect((await run(args, options)).stdout).toContain("\n20 downloads in ");
    expect(server.notes().atOnce).toBe(most);
    expect((await run(["--help"], options)).stdout).toStartWith(
      "Usage: bun bounded.ts ",
    );
  });

  test("one.ts saves a flag, or says why not", async () => {
    using server = flagServer();
    const options = { cwd: example(), script: "one.ts" };
    expect(await run(["br", server.url], options)).toEqual({
      stdout: `br: ${image("br").length} bytes\n`,
      stderr: "",
      status: 0,
    });
    expect(contents(join(options.cwd, "flags"))).toEqual(flags(["BR"]));
    const { stderr, status } = await run(["J1"], options);
    expect(stderr).toContain("No flag: not a two-letter code");
    expect(status).toBe(1);
  });

  test("measures the speed with commands that work", async () => {
    const cwd = alone();
    mkdirSync(join(cwd, "downloaded"));
    for (const [name, bytes] of Object.entries(flags(POP20_CC))) {
      writeFileSync(join(cwd, "downloaded", name), bytes);
    }
    const [, code] = /^bun -e '(.*)' &$/m.exec(readme)!;
    // The port is whichever is free, so that two runs of this do not meet.
    const printed = code!.replace(/^(.*)$/, "console.log(String(($1).port))");
    const server = Bun.spawn(
      [process.execPath, "-e", printed.replace("port: 8000", "port: 0")],
      { cwd, stdout: "pipe" },
    );
    try {
      const { value } = await server.stdout.getReader().read();
      const port = new TextDecoder().decode(value).trim();
      const commands = [...readme.matchAll(/ '((?:bun|curl) [^']*)'/g)];
      expect(commands).toHaveLength(2);
      for (const [, command] of commands) {
        const [name = "", ...args] = command!.replace("8000", port).split(" ");
        const path = name === "bun" ? process.execPath : Bun.which(name);
        if (path === null) continue; // a machine without curl
        mkdirSync(join(cwd, "new"), { recursive: true });
        const child = Bun.spawn([path, ...args], { cwd, stdout: "ignore" });
        expect(await child.exited).toBe(0);
        expect(contents(join(cwd, "new"))).toEqual(flags(POP20_CC));
        rmSync(join(cwd, "new"), { recursive: true });
      }
    } finally {
      server.kill();
    }
  });

  const types = join(import.meta.dir, "node_modules");
  test.skipIf(!existsSync(types))(
    "has scripts and settings that type-check, under strict options too",
    async () => {
      const settings = {
        ...{ types: ["bun"], target: "ESNext", module: "Preserve" },
        ...{ allowImportingTsExtensions: true, noEmit: true },
      };
      const values = ['["bun"]', "ESNext", "Preserve", "true"];
      for (const said of [...Object.keys(settings), ...values]) {
        expect(readme).toContain(`\`${said}\``);
      }
      const strict = Object.fromEntries(
        [
          ...["strict", "exactOptionalPropertyTypes", "isolatedModules"],
          ...["noUncheckedIndexedAccess", "noUnusedLocals"],
          ...["noUnusedParameters", "noImplicitReturns"],
          ...["verbatimModuleSyntax", "erasableSyntaxOnly"],
        ].map((name) => [name, true]),
      );
      const cwd = example();
      symlinkSync(types, join(cwd, "node_modules"), "junction");
      for (const more of [{}, strict]) {
        const compilerOptions = { ...settings, ...more };
        writeFileSync(
          join(cwd, "tsconfig.json"),
          JSON.stringify({ compilerOptions }),
        );
        const check = Bun.spawn([process.execPath, "check"], {
          cwd,
          stdout: "pipe",
          stderr: "ignore",
        });
        expect(await check.stdout.text()).toBe("");
        expect(await check.exited).toBe(0);
      }
    },
  );
});
