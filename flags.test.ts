import { afterAll, beforeAll, describe, expect } from "bun:test";
import { setDefaultTimeout, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import zlib from "node:zlib";

// The tests run lines of shell, with servers on this machine, and compare what
// a user sees. Where they are not about time, they wait for events. A line that
// hangs is ended after this time, and its test fails and shows what it had said.
const HANG_MS = 20_000;
setDefaultTimeout(3 * HANG_MS);

// What a tester has set for Bun or Node is not meant for the scripts run here.
for (const name of Object.keys(process.env)) {
  if (/_proxy$|^(NODE|BUN|FORCE_COLOR)/i.test(name)) delete process.env[name];
}
process.env["NO_COLOR"] = "1";

/** A file of this project, or nothing where flags.ts was copied without it. */
function read(name: string): string {
  const path = join(import.meta.dir, name);
  return fs.existsSync(path) ? fs.readFileSync(path, "utf8") : "";
}
const SOURCE = read("flags.ts");

// ---- Helper 1 of 3: folders ----

const root = fs.mkdtempSync(join(tmpdir(), "flags-"));
const running = new Set<Bun.Subprocess>();
function cleanUp() {
  for (const child of running) process.kill(-child.pid, "SIGKILL");
  fs.rmSync(root, { recursive: true, force: true });
}
afterAll(cleanUp);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    cleanUp();
    process.exit(130); // as after Ctrl-C
  });
}

/** A new folder with these files. A name that ends in "/" makes a folder. */
function folder(files: Record<string, string> = {}): string {
  const dir = fs.mkdtempSync(join(root, "folder-"));
  for (const [name, text] of Object.entries(files)) {
    if (name.endsWith("/")) fs.mkdirSync(join(dir, name));
    else fs.writeFileSync(join(dir, name), text);
  }
  return dir;
}

/** What the servers here have for a country: 4 kB, with a GIF's start and end. */
const gif = (cc: string) =>
  Buffer.from(`GIF89a${cc.toLowerCase().repeat(2000)};`);

const DEMO_GIF = "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==";

/** Folders and the flags in them, such as "got: BR CN", and all other files. */
function listing(dir: string): string[] {
  const found: Record<string, string> = {};
  const names = fs.readdirSync(dir, { recursive: true, encoding: "utf8" });
  for (const name of names.filter((name) => !name.endsWith(".ts")).sort()) {
    const path = join(dir, name);
    if (fs.statSync(path).isDirectory()) {
      if (fs.readdirSync(path).length === 0) found[name] = "empty";
      continue;
    }
    const bytes = fs.readFileSync(path);
    const [, cc = ""] = /(\w\w)\.gif$/.exec(name) ?? [];
    const isMadeUp = bytes.toString("base64") === DEMO_GIF;
    const place = dirname(name) + (isMadeUp ? ", made up" : "");
    if (isMadeUp || bytes.equals(gif(cc))) {
      found[place] = `${found[place] ?? ""} ${cc}`.trim();
    } else {
      const start = JSON.stringify(bytes.toString("latin1", 0, 20));
      found[name] = `${bytes.length} bytes, ${start}`;
    }
  }
  return Object.entries(found).map(([name, what]) => `${name}: ${what}`);
}

// ---- Helper 2 of 3: servers ----

/** Bytes, after which the connection ends, or what is done to a connection. */
type Answer = Uint8Array | ((socket: net.Socket) => unknown);

/** An answer as it goes over the wire. */
function http(
  status: string,
  body: string | Uint8Array = "",
  headers = [`Content-Length: ${Buffer.byteLength(body)}`],
): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

/**
 * A server with the flags of all countries, which notes the paths it is `asked`
 * for. `answers` has other answers, by the country code in lower case. Before
 * each answer, the server waits for what `ready` returns.
 */
async function serve(
  answers: Record<string, Answer> = {},
  ready: () => unknown = () => {},
) {
  const asked: string[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {}); // as clients may hang up
    socket.on("data", async (data) => {
      const path = String(data).split(" ")[1] ?? ""; // GET /flags/br/br.gif HTTP/1.1
      asked.push(path);
      await ready();
      const cc = path.slice(-6, -4);
      const answer = answers[cc];
      if (!answer) socket.write(http("200 OK", gif(cc)));
      else if (typeof answer === "function") answer(socket);
      else socket.end(answer);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as net.AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  const url = `${origin}/flags`;
  return { origin, url, asked, sockets, [Symbol.dispose]: stop };
}

// ---- Helper 3 of 3: runs ----

/** What stands above the code of `other` in the file other.ts, in one line. */
const IMPORTS = `import { DEFAULTS, downloadMany, downloadOne, explain, getFlag,
  main, saveFlag, showCode, showFailure } from "./flags.ts";
  const OPTIONS = { ...DEFAULTS, baseUrl: process.env.S, destDir: "got" };
  `.replaceAll("\n ", "");

/** What a user sees, without what differs from run to run: ports and seconds. */
const usual = (shown: string) =>
  shown
    .replace(/https?:\/\/127\.0\.0\.1:\d+(\/flags)?/g, "SERVER")
    .replace(/ in \d+\.\d\ds$/gm, " in #s")
    .replace(/ +$/gm, "");

/**
 * Runs a line of shell in a folder with flags.ts, and returns in `lines` what a
 * user sees: the output; errors, each after "! "; the exit status; and what is
 * in the folder, as {@link listing} says. `$S` is the URL of `server`, which is
 * shown as SERVER, as is that of the demo.
 */
async function run(
  line: string,
  { cwd = folder(), env = {}, server = { url: "" }, other = "" } = {},
) {
  fs.writeFileSync(join(cwd, "flags.ts"), SOURCE);
  const imports = other === EXAMPLE ? "" : IMPORTS;
  if (other) fs.writeFileSync(join(cwd, "other.ts"), imports + other);
  // `$0` is this very Bun, for whoever types bun, or npx with four words before.
  const shell = `bun() { "$0" "$@"; }; npx() { shift 4; bun "$@"; }; ${line}`;
  const shown = folder();
  const [out, err] = [join(shown, "out"), join(shown, "err")];
  const child = Bun.spawn(["sh", "-c", shell, process.execPath], {
    cwd,
    env: { ...process.env, ...env, S: server.url },
    stdio: ["ignore", Bun.file(out), Bun.file(err)],
    detached: true, // a group, so that the shell ends with what runs in it
  });
  running.add(child);
  const kill = () => process.kill(-child.pid, "SIGKILL");
  const hang = setTimeout(kill, HANG_MS);
  await child.exited;
  clearTimeout(hang);
  running.delete(child);
  const [output = "", errors = ""] = [out, err].map((path) => {
    const noise = /^Decompression error: .*\n/gm; // what `fetch` itself says
    const shown = fs.readFileSync(path, "utf8").replace(noise, "");
    return shown.replace(/[^\n]$/, "$& (no line end)\n");
  });
  const seconds = Number(/ in (\d+\.\d\d)s$/m.exec(output)?.[1]);
  const said = usual(output + errors.replace(/^(?=.)/gm, "! "));
  if (child.signalCode) {
    throw new Error(`hung: ${line}\nafter it said: ${said || "nothing"}`);
  }
  const lines = `${said}exit ${child.exitCode}`.split("\n");
  return { lines: [...lines, ...listing(cwd)], seconds };
}

// ---- First, typical runs. If one fails, its message says why, and no test runs.

/** The script in the first comment of flags.ts, which asks for all at once. */
const [, EXAMPLE = "no example in flags.ts"] =
  /^```ts\n(.*?)^```/ms.exec(SOURCE.replace(/^ \* ?/gm, "")) ?? [];

const CODES = "BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN";

beforeAll(async () => {
  using server = await serve({ ch: http("404 No") }, () => Bun.sleep(20));
  const line = `bun flags.ts -s $S; bun flags.ts -demo; echo status $?
    bun flags.ts us ch br --dest got -s $S`;
  const { lines } = await run(line, { server });
  const said = "No other test is run, since this first run failed: ";
  expect(lines, said + line).toEqual([
    ...[CODES, "20 downloads in #s", "status 2"],
    ...["BR", "US", "2 of 3 downloads in #s"],
    ...["! Unknown option 'd'", "! Try 'bun flags.ts --help'."],
    ...["! CH: HTTP 404 No: SERVER/ch/ch.gif", "exit 1"],
    ...[`downloaded: ${CODES}`, "got: BR US"],
  ]);
  const demo = await run("bun other.ts --demo br", { other: EXAMPLE });
  const shown = ["BR", "1 downloads in #s", "exit 0", "demo, made up: BR"];
  expect(demo.lines, `${said}the example --demo br`).toEqual(shown);
});

describe.concurrent("bun flags.ts", () => {
  test("shows each code, with its flag saved, before asking for the next", async () => {
    const cwd = folder({ shown: "" });
    const seen: string[] = [];
    using server = await serve({}, () => {
      const shown = fs.readFileSync(join(cwd, "shown"), "utf8");
      const files = fs.readdirSync(join(cwd, "got")).sort();
      seen.push(`${shown}shown, ${files} saved`);
    });
    const line = "bun flags.ts br cn us --dest got -t 20 -s $S > shown";
    const { lines } = await run(line, { server, cwd });
    expect(lines[0]).toBe("exit 0");
    const second = "BR shown, BR.gif saved";
    const third = "BR CN shown, BR.gif,CN.gif saved";
    expect(seen).toEqual(["shown,  saved", second, third]);
  });

  test("takes codes in any case, repeats once, and asks in order", async () => {
    using server = await serve();
    const line = "bun flags.ts us Br US bR --dest a/b -t 20 -s $S";
    const { lines } = await run(line, { server });
    const shown = ["BR US", "2 downloads in #s", "exit 0"];
    expect(lines).toEqual([...shown, "a/b: BR US"]);
    expect(server.asked).toEqual(["/flags/br/br.gif", "/flags/us/us.gif"]);
    expect(server.sockets, "one connection").toHaveLength(1);
  });

  test("takes a server in capitals, with slashes and a blank at its end", async () => {
    using server = await serve();
    server.url = server.origin.replace("http", "HTTP");
    const line = "bun flags.ts br -t 20 -s $S'/@a/b// '";
    const { lines } = await run(line, { server });
    expect(lines[0]).toBe("BR");
    expect(server.asked).toEqual(["/@a/b/br/br.gif"]);
  });
});

const GIF = gif("br");
const LENGTH = `Content-Length: ${GIF.length}`;
const CHUNKED = "Transfer-Encoding: chunked";
const PAGE = "<h1>Log in</h1>;"; // with ";", the byte that ends a GIF
const HALF = http("200 OK", GIF.subarray(0, 2000), [LENGTH]);

function redirect(url: string): Buffer {
  return http("302 Found", "", [`Location: ${url}`, "Content-Length: 0"]);
}

function encoded(encoding: string, body: string | Uint8Array, status = "200") {
  const length = `Content-Length: ${body.length}`;
  return http(`${status} OK`, body, [`Content-Encoding: ${encoding}`, length]);
}

/** Sends a piece again and again, until the client hangs up. */
function endless(head: Uint8Array, piece: Uint8Array): Answer {
  return (socket) => {
    socket.write(head);
    const drip = setInterval(() => socket.write(piece), 20);
    socket.on("close", () => clearInterval(drip));
  };
}

// Made for these tests and good for nothing else: a certificate for localhost.
const KEY =
  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpeyVa4dI6AgrPtTHgrdSHgoT9FtcmjW1sHQ/IA4TV/ehRANCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRBHY882jTe4hclFTe/CiIRsKWVJiELSQtXrs+wN0dTbeHmURZac1zv4qh6";
const CERT =
  "MIIBlTCCATugAwIBAgIUC/2LrvbBhO1/3gM+je3m/mVsCYkwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAzNTkxNFoYDzIxMjYxMDMxMDM1OTE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRBHY882jTe4hclFTe/CiIRsKWVJiELSQtXrs+wN0dTbeHmURZac1zv4qh6o2kwZzAdBgNVHQ4EFgQU8Zo6xZfPSblNwlAcz218Vr8+CyEwHwYDVR0jBBgwFoAU8Zo6xZfPSblNwlAcz218Vr8+CyEwDwYDVR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDSAAwRQIhALOPFeRIufTyLaQwJiMWUOcwv/4qimy4lWcR+KNHtTUeAiBVg1neR5l0UiOifmPA6jBok8AhiG4hD7sk9LLxxb3rIg==";
const pem = (what: string, base64: string) =>
  `-----BEGIN ${what}-----\n${base64.replace(/.{64}/g, "$&\n")}\n-----END ${what}-----\n`;

describe.concurrent("a flag that cannot be saved is reported,", () => {
  const toFile = redirect(Bun.pathToFileURL(import.meta.path).href);
  const toNoHost = redirect(`http://${"x".repeat(64)}.test`); // 63 are allowed
  const toNoNet = redirect("http://255.255.255.255"); // which is for broadcasts
  const mail = Buffer.from("220 mail.test ESMTP at your service\r\n");
  const red = http("500 red\u009b31m\u202e\tturned");
  const cut = ["Content-Length: 99"];
  // What the script says in the end, and what a server answers for the code.
  const failures: Record<string, [report: string, answer: Answer]> = {
    // A status
    AA: ["HTTP 404 Not Found: URL", http("404 Not Found", GIF)],
    AB: ["HTTP 500 Oh no. Sir: URL", http("500 Oh no. Sir")],
    AC: ["HTTP 500: URL", http("500")],
    AD: ["HTTP 500 red 31m turned: URL", red],
    AE: ["HTTP 302 Found: URL", http("302 Found")], // to nowhere
    AF: ["HTTP 304 Not Modified: URL", http("304 Not Modified", "", [])],
    AG: ["HTTP 404 No: SERVER/zz/zz.gif", redirect("../zz/zz.gif")],
    AH: ["HTTP 503 OK: URL", encoded("gzip", "this is no gzip", "503")],
    AI: ["HTTP 503 Cut: URL", http("503 Cut", "x", cut)],
    AJ: ["HTTP 503 Chunk: URL", http("503 Chunk", "zz\r\nx", [CHUNKED])],
    AK: ["HTTP 404 Long: URL", endless(http("404 Long", GIF, []), GIF)],
    // No image, or a part of one
    BA: ["not a complete GIF: URL", http("204 No Content", "", [])],
    BB: ["not a complete GIF: URL", http("200 OK")],
    BC: ["not a complete GIF: URL", http("200 OK", PAGE)],
    BD: ["not a complete GIF: SERVER/yy/yy.gif", redirect("../yy/yy.gif")],
    BE: ["not a complete GIF: URL", http("200 OK", "GIF89a; or so", [])],
    BF: ["not a complete GIF: URL", http("200 OK", "GIF or so;")],
    // The network
    CA: ["ECONNRESET fetching URL", HALF],
    CB: ["ECONNRESET fetching URL", http("200 OK", "fff\r\nGI", [CHUNKED])],
    CC: ["ECONNRESET fetching URL", (socket) => socket.resetAndDestroy()],
    CD: ["ECONNRESET fetching URL", (socket) => socket.end()],
    CE: ["ECONNREFUSED fetching URL", redirect("http://127.0.0.1:1")],
    CF: ["ENETUNREACH fetching URL", toNoNet],
    CG: ["ENOTFOUND fetching URL", toNoHost],
    CH: ["TooManyRedirects fetching URL", redirect("ch.gif")], // to itself
    CI: ["UnsupportedRedirectProtocol fetching URL", toFile],
    CJ: ["Malformed_HTTP_Response fetching URL", mail],
    CK: ["ZlibError fetching URL", encoded("gzip", "this is no gzip")],
  };

  test("and an older one and the others are there", async () => {
    const [yy, zz] = [http("200 OK", PAGE), http("404 No", GIF)];
    const answers: Record<string, Answer> = { yy, zz };
    const cwd = folder();
    const expected = ["US VN", "2 of 30 downloads in #s"];
    for (const [code, [report, answer]] of Object.entries(failures)) {
      const cc = code.toLowerCase();
      const url = `SERVER/${cc}/${cc}.gif`;
      answers[cc] = answer;
      fs.writeFileSync(join(cwd, `${code}.gif`), "older");
      expected.push(`! ${code}: ${report.replace("URL", url)}`);
    }
    using server = await serve(answers);
    const codes = Object.keys(failures).join(" ");
    const line = `bun flags.ts ${codes} us vn --dest . -t 20 -s $S`;
    const { lines } = await run(line, { server, cwd });
    const isOlder = (line: string) => line.endsWith(': 5 bytes, "older"');
    const others = lines.filter((line) => !isOlder(line));
    expect(others).toEqual([...expected, "exit 1", ".: US VN"]);
    expect(lines.filter(isOlder), "older flags").toHaveLength(28);
  });

  test("and where it has no place, no code is shown, and no older flag lost", async () => {
    const cwd = folder({ "BR.gif/": "", "US.gif": "older" });
    using server = await serve();
    // Files are cut at 512 or 1,024 bytes, as on a disk that is full.
    const line = `bun flags.ts br cn --dest . -t 20 -s $S
      ulimit -f 1; bun flags.ts us --dest . -t 20 -s $S`;
    const { lines } = await run(line, { server, cwd });
    expect(lines).toEqual([
      ...["CN", "1 of 2 downloads in #s", "0 of 1 downloads in #s"],
      ...["! BR: EISDIR saving BR.gif", "! US: EFBIG saving US.gif"],
      ...["exit 1", "BR.gif: empty", ".: CN", 'US.gif: 5 bytes, "older"'],
    ]);
  });

  test("even if it lies with a proxy, a protocol or a certificate", async () => {
    const [key, cert] = [pem("PRIVATE KEY", KEY), pem("CERTIFICATE", CERT)];
    const tls = { key, cert };
    const fetch = () => new Response(GIF);
    using safe = Bun.serve({ hostname: "127.0.0.1", port: 0, tls, fetch });
    using server = await serve();
    const line = `try() { "$0" flags.ts br --dest got -s $1; }
      HTTP_PROXY=http://127.0.0.1:1 try $S; try https\${S#http}
      try https://localhost:${safe.port}; export NODE_EXTRA_CA_CERTS=ca.ts
      try https://127.0.0.1:${safe.port}; try https://localhost:${safe.port}`;
    const cwd = folder({ "ca.ts": cert });
    const { lines } = await run(line, { server, cwd });
    const errors = lines.filter((line) => line.startsWith("! "));
    expect(errors.map((error) => error.replace(/ \S+$/, ""))).toEqual([
      ...["! BR: ECONNREFUSED fetching", "! BR: EPROTO fetching"],
      "! BR: DEPTH_ZERO_SELF_SIGNED_CERT fetching",
      "! BR: ERR_TLS_CERT_ALTNAME_INVALID fetching",
    ]);
    expect(lines.slice(-2)).toEqual(["exit 0", "got: BR"]); // the last one
  });
});

describe.concurrent("a flag is saved", () => {
  test("whatever the encoding and the headers", async () => {
    using server = await serve({
      aa: redirect("/flags/aa/aa.gif/of/us.gif"),
      ab: encoded("gzip", zlib.gzipSync(gif("ab"))),
      ac: encoded("deflate", zlib.deflateSync(gif("ac"))),
      ad: encoded("br", zlib.brotliCompressSync(gif("ad"))),
      ae: encoded("zstd", zlib.zstdCompressSync(gif("ae"))),
      af: http("200 OK", gif("af"), []), // no Content-Length
      ag: http("200 OK", gif("ag"), ["Content-Type: text/html", LENGTH]),
      ah: http("200 OK", "GIF87a, older;"),
      us: http("200 OK", gif("aa")),
    });
    const line = "bun flags.ts aa ab ac ad ae af ag ah -t 20 -s $S";
    const { lines } = await run(line, { server });
    expect(lines).toEqual([
      ...["AA AB AC AD AE AF AG AH", "8 downloads in #s", "exit 0"],
      "downloaded: AA AB AC AD AE AF AG",
      'downloaded/AH.gif: 14 bytes, "GIF87a, older;"',
    ]);
  });

  test("as a whole, for all to read, in the place of an older file or link", async () => {
    const cwd = folder({ "BR.gif": "older", target: "precious" });
    fs.symlinkSync("target", join(cwd, "US.gif"));
    using server = await serve();
    const line = `exec 3<BR.gif; umask 022; bun flags.ts br us --dest . -t 20 -s $S
      cat <&3; echo " is read on"`;
    const { lines } = await run(line, { server, cwd });
    const shown = ["BR US", "2 downloads in #s", "older is read on"];
    const files = [".: BR US", 'target: 8 bytes, "precious"'];
    expect(lines).toEqual([...shown, "exit 0", ...files]);
    expect(fs.statSync(join(cwd, "BR.gif")).mode & 0o777).toBe(0o644);
  });

  test("by each of three scripts that save in one folder at once", async () => {
    const waiting: (() => void)[] = [];
    using server = await serve({}, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (waiting.push(resolve) === 3) waiting.splice(0).forEach((go) => go());
      await promise; // of an answer, once all three have asked
    });
    const one = "bun flags.ts --dest got -t 20 -s $S";
    const line = `${one} & a=$!; ${one} & b=$!; ${one}; wait $a && wait $b`;
    const { lines } = await run(line, { server });
    const ends = lines.filter((line) => line.endsWith("20 downloads in #s"));
    expect(ends, lines.join("\n")).toHaveLength(3);
    expect(lines.slice(-2)).toEqual(["exit 0", `got: ${CODES}`]);
  });
});

describe.concurrent("the time limit", () => {
  const late = "no whole answer within the time limit";

  test("ends the wait for a flag, however the server stalls", async () => {
    const { Z_SYNC_FLUSH: finishFlush } = zlib.constants; // a part, not the last
    const zeros = zlib.deflateRawSync(Buffer.alloc(1 << 20), { finishFlush });
    const start = Buffer.from("1f8b0800000000000003", "hex"); // of gzip
    const gzip = http("200 OK", start, ["Content-Encoding: gzip"]);
    using server = await serve({
      aa: () => {}, // no answer
      ab: (socket) => socket.write("HTTP/1.1 200"), // a stall amid the head
      ac: (socket) => socket.write(HALF), // and amid the body
      ad: endless(http("200 OK", "", []), Buffer.from("G")),
      ae: endless(gzip, zeros),
    });
    const line = "bun other.ts -t 1 -s $S aa ab ac ad ae";
    const { lines, seconds } = await run(line, { server, other: EXAMPLE });
    const all = ["AA", "AB", "AC", "AD", "AE"].map((cc) => `! ${cc}: ${late}`);
    expect(lines.slice(1, -2).sort()).toEqual(all);
    expect(seconds, "seconds, with -t 1").toBeWithin(1, 5);
  });

  test("is 6.1 seconds, if nothing is said, or longer, as told", async () => {
    using server = await serve({}, () => Bun.sleep(6400));
    const [short, long] = await Promise.all([
      run("bun flags.ts br -s $S", { server }),
      run("bun flags.ts br -t 300 -s $S", { server }),
    ]);
    expect(short.lines).toContain(`! BR: ${late}`);
    expect(short.seconds, "seconds").toBeWithin(6.1, 10);
    expect(long.lines).toContain("BR");
  });

  test("is not counted anew when the answer begins", async () => {
    using server = await serve({
      br: (socket) => setTimeout(() => socket.write(HALF), 2500),
    });
    const line = "bun flags.ts br -t 3 -s $S";
    const { lines, seconds } = await run(line, { server });
    expect(lines).toContain(`! BR: ${late}`);
    expect(seconds, "seconds, with -t 3").toBeWithin(3, 5.4);
  });
});

describe.concurrent("the command line", () => {
  test("is refused with a rule, and nothing is begun", async () => {
    const demo = "--server: not for a demo, which brings its own";
    const url = "--server: a URL with http(s)://, without user, ? or #";
    const refused = [
      ["--timeout: seconds above 0, up to 300", "-t 0", "-t 300.1", "-t soon"],
      ["--timeout: seconds above 0, up to 300", "--timeout="],
      ["--delay: seconds above 0, up to 4", "--delay 0", "--delay 4.1"],
      ["--delay: seconds above 0, up to 4", "--delay=", "--delay soon"],
      ["--busy: a whole number above 0", "--busy 0", "--busy 1.5", "--busy="],
      [url, "-s example.test", "-s ftp://x.test", "-s xhttp://x.test/y"],
      [url, "-s http://x.test?", "-s http://x.test#", "--server="],
      [url, "-s http://me@x.test", "-s https://:secret@x.test"],
      [demo, "--demo -s http://x.test", "--delay 1 -s http://x.test"],
      [demo, "--busy 1 -s http://x.test"],
      ['not a two-letter country code: "usa"', "usa", "br usa"],
      ["Option '-t' argument is ambiguous", "-t -5"],
      ["Unknown option '--foo'", "--foo"],
      ["Unknown option 'd'", "-demo", "-delay 1", "-dest x"],
      ["Unknown option 'b'", "-busy 5"],
    ].flatMap(([rule, ...lines]) => lines.map((line) => ({ line, rule })));
    const other = `for (const { line } of ${JSON.stringify(refused)}) {
      console.error("$ " + line);
      await main(() => console.error("begun"), line.split(" "));
      console.error("exit", process.exitCode);
      process.exitCode = 0;
    }`;
    const { lines } = await run("bun other.ts", { other });
    const text = lines.join("\n").replace(/exit 0$/, "");
    const said = text.split("! $ ").slice(1);
    const end = "! Try 'bun other.ts --help'.\n! exit 2\n";
    refused.forEach(({ line, rule }, i) => {
      expect(said[i]).toBe(`${line}\n! ${rule}\n${end}`);
    });
  });

  test("is refused with a folder that cannot be made", async () => {
    const cwd = folder({ file: "" });
    using server = await serve();
    const line = `bun flags.ts --dest file/x -s $S
      bun flags.ts --dest file -s $S`;
    const { lines } = await run(line, { server, cwd });
    const first = "! ENOTDIR: not a directory, mkdir 'file/x'";
    const second = "! EEXIST: file already exists, mkdir 'file'";
    expect(lines).toEqual([first, second, "exit 2", 'file: 0 bytes, ""']);
    expect(server.asked).toEqual([]);
  });

  // Root may write everywhere, but not as a user of a namespace without it.
  const user = process.getuid?.() === 0 ? ["unshare", "--user"] : ["env"];
  const canBeUser =
    Bun.which(user[0]!) && Bun.spawnSync([...user, "true"]).success;
  const testAsUser = test.skipIf(!canBeUser);
  testAsUser("is refused with a folder that cannot be written", async () => {
    const cwd = folder({ "got/": "" });
    using server = await serve();
    const line = `chmod 555 got; ${user.join(" ")} "$0" flags.ts --dest got -s $S`;
    const { lines } = await run(line, { server, cwd });
    const error = "! EACCES: permission denied, access 'got'";
    expect(lines).toEqual([error, "exit 2", "got: empty"]);
    expect(server.asked).toEqual([]);
  });

  test("says how it is used, whatever else stands there", async () => {
    const line = "bun flags.ts --help -t soon usa -s x --busy= --dest y";
    const { lines } = await run(line);
    const short = await run("bun flags.ts -h");
    expect(short.lines).toEqual(lines);
    expect(lines).toEqual([
      "Usage: bun flags.ts [options] [CC ...]",
      "Downloads country flags. Defaults are in parentheses.",
      "",
      "  CC                 country codes (20 most populous countries)",
      "  -s, --server URL   where flags are (https://www.fluentpython.com/data/flags)",
      "      --dest DIR     where to save them (downloaded)",
      "  -t, --timeout SEC  give up on a flag after SEC seconds (6.1)",
      "      --demo         make up flags for those 20, in demo/: needs no network",
      "      --delay SEC    implies --demo: about SEC seconds for a flag (0.1)",
      "      --busy N       implies --demo: 503 for requests beyond N at once",
      "  -h, --help         show this help and end",
      "exit 0",
    ]);
  });
});

// 50 codes that the demo does not have, and the 20 that it has.
const ABSENT = [..."AQWXY"].flatMap((a) => [..."ABCHJKQWXY"].map((b) => a + b));
const ALL_70 = [...ABSENT, CODES].join(" ");

describe.concurrent("the demo", () => {
  test("saves in demo/, so that real flags stay", async () => {
    const { lines, seconds } = await run("bun flags.ts --demo");
    const shown = [CODES, "20 downloads in #s", "exit 0"];
    expect(lines).toEqual([...shown, `demo, made up: ${CODES}`]);
    expect(seconds, "seconds for 20").toBeWithin(1.4, 6);
  });

  test("is meant by --delay and --busy, too", async () => {
    const line = "bun flags.ts --delay 0.02 br; bun flags.ts --busy 1 us";
    const { lines } = await run(line);
    const one = "1 downloads in #s";
    const files = "demo, made up: BR US";
    expect(lines).toEqual(["BR", one, "US", one, "exit 0", files]);
  });

  test("has no flags but the 20, and saves elsewhere if told to", async () => {
    const line = `bun other.ts --delay 0.01 --dest x ${ALL_70}`;
    const { lines } = await run(line, { other: EXAMPLE });
    expect(lines).toContain("! WA: HTTP 404 Not Found: SERVER/wa/wa.gif");
    expect(lines.at(-1)).toBe(`x, made up: ${CODES}`);
  });

  test("answers after --delay or so, at random, but not before half of it", async () => {
    const other = `await main(async (codes, { baseUrl }) => {
      const times = await Promise.all(codes.map(async (cc) => {
        const start = performance.now();
        await fetch(baseUrl + "/" + cc + "/" + cc + ".gif");
        return performance.now() - start;
      }));
      console.log(Math.min(...times), Math.max(...times));
      return 70;
    });`;
    const { lines } = await run(`bun other.ts --delay 2 ${ALL_70}`, { other });
    const [first = 0, last = 0] = lines[0]!.split(" ").map(Number);
    // Once in a million times, a part of the range has none of 70 answers.
    expect(first, "ms of the quickest of 70").toBeWithin(1000, 1450);
    expect(last, "ms of the slowest of 70").toBeWithin(2600, 3900);
  });

  test("answers 503 at once to what is beyond --busy", async () => {
    const line = "bun other.ts --busy 12 --delay 4 -t 1"; // flags need 2 s
    const { lines } = await run(line, { other: EXAMPLE });
    const busy = /^! (..): HTTP 503 Service Unavailable: SERVER\/..\/..\.gif$/;
    const late = /^! (..): no whole answer within the time limit$/;
    const count = (what: RegExp) => lines.filter((it) => what.test(it)).length;
    expect([count(busy), count(late)], lines.join("\n")).toEqual([8, 12]);
  });

  test("shows codes and failures apart, with 70 requests at once", async () => {
    const line = `bun other.ts --demo ${ALL_70} 2>&1`;
    const { lines } = await run(line, { other: EXAMPLE });
    const said = lines.join("\n").split("20 of 70 downloads in #s\nexit 1\n");
    const failure = /^[A-Z]{2}: HTTP 404 Not Found: SERVER\/..\/..\.gif\n/gm;
    expect(said[0]!.match(failure), "failures").toHaveLength(50);
    const codes = said[0]!.replace(failure, "");
    expect(codes).toMatch(/^([A-Z]{2}( [A-Z]{2})*\n)+$/);
    expect(codes.trim().split(/\s/).sort().join(" ")).toBe(CODES);
  });

  test("needs no proxy, whatever the user has set", async () => {
    const HTTP_PROXY = "http://127.0.0.1:1";
    const env = { HTTP_PROXY, no_proxy: "a.test", NO_PROXY: "b.test" };
    const { lines } = await run("bun flags.ts --demo br", { env });
    expect(lines[0]).toBe("BR");
  });

  test("leaves the user's proxy and its exceptions in force", async () => {
    using server = await serve();
    using proxy = await serve();
    const other = `await main(() => 20, ["--demo"]);
      await fetch("http://x.test/flags/br/br.gif");
      await fetch(process.env.S + "/us/us.gif");`;
    const exception = { no_proxy: "", NO_PROXY: "localhost" };
    const env = { HTTP_PROXY: proxy.origin, ...exception };
    server.url = server.url.replace("127.0.0.1", "localhost");
    const { lines } = await run("bun other.ts", { other, server, env });
    expect(lines).toContain("exit 0");
    expect(proxy.asked).toEqual(["http://x.test/flags/br/br.gif"]);
    expect(server.asked).toEqual(["/flags/us/us.gif"]);
  });

  test("does not keep the script for an answer that is too late", async () => {
    const other = `await main(downloadMany, ["--delay", "4", "-t", "0.1", "br"]);
      const end = performance.now();
      process.on("exit", () => console.log(performance.now() - end));`;
    const { lines } = await run("bun other.ts", { other });
    expect(Number(lines[1]), "ms").toBeWithin(0, 1500); // an answer takes 2000
  });
});

describe.concurrent("all flags are saved, silently,", () => {
  const saving = "{ bun flags.ts --demo --delay 0.02; echo $? > status; }";
  const seen = ["exit 0", `demo, made up: ${CODES}`, 'status: 2 bytes, "0\\n"'];

  test("if the reader has gone", async () => {
    const { lines } = await run(`${saving} | head -c 2`);
    expect(lines).toEqual(["BD (no line end)", ...seen]);
  });

  test("if the reader stops, while the pipe is full, and goes", async () => {
    const line = `{ head -c 65536 /dev/zero; ${saving}; } | sleep 1`;
    expect((await run(line)).lines).toEqual(seen);
  });

  const hasFull = fs.existsSync("/dev/full");
  test.skipIf(!hasFull)("if the output is full", async () => {
    const { lines } = await run("bun flags.ts --demo br ch us > /dev/full");
    const failure = "! CH: HTTP 404 Not Found: SERVER/ch/ch.gif";
    expect(lines).toEqual([failure, "exit 1", "demo, made up: BR US"]);
  });
});

const offline = ["unshare", "--map-root-user", "--net"];
const canBeOffline =
  Bun.which("unshare") && Bun.spawnSync([...offline, "ip", "addr"]).success;
describe.concurrent.skipIf(!canBeOffline)("without a network", () => {
  test("real flags are reported, and the demo goes on", async () => {
    const line = `${offline.join(" ")} sh -c 'ip link set lo up
      "$0" flags.ts br; "$0" flags.ts br --demo' "$0"`;
    const { lines } = await run(line);
    const shown = ["0 of 1 downloads in #s", "BR", "1 downloads in #s"];
    const url = "https://www.fluentpython.com/data/flags/br/br.gif";
    const error = `! BR: EAI_AGAIN fetching ${url}`;
    const files = ["demo, made up: BR", "downloaded: empty"];
    expect(lines).toEqual([...shown, error, "exit 0", ...files]);
  });
});

describe.concurrent("imported, flags.ts", () => {
  test("shows nothing, and has constants that cannot be changed", async () => {
    const other = `import * as flags from "./flags.ts";
      console.log(flags.POP20_CC.join(" "));
      console.log(flags.BASE_URL, flags.DEST_DIR, flags.TIMEOUT_MS);
      console.log(Object.isFrozen(DEFAULTS));
      flags.POP20_CC.shift();`;
    const { lines } = await run("bun other.ts", { other });
    expect(lines.slice(0, 3)).toEqual([
      "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR",
      "https://www.fluentpython.com/data/flags downloaded 6100",
      "true",
    ]);
    const readonly = "! TypeError: Attempted to assign to readonly property.";
    expect(lines).toContain(readonly);
  });

  const node = Bun.which("node") ?? "true"; // which has no version
  const [version = 0] =
    /\d+/.exec(`${Bun.spawnSync([node, "-v"]).stdout}`) ?? [];
  test.skipIf(Number(version) < 24)("can be read by Node itself", async () => {
    const code = 'import("./flags.ts").then((it) => console.log(it.DEST_DIR))';
    const { lines } = await run(`node -e '${code}'`);
    expect(lines[0]).toBe("downloaded");
  });
});

describe.concurrent("saveFlag", () => {
  test("saves bytes in a new folder, under the plain name of a file alone", async () => {
    const other = `const names = ["", ".", "..", "../x", "a/b", "a\\\\b", "a/", "x.gif"];
      for (const name of names) {
        const saved = saveFlag(Buffer.from("any bytes"), name, OPTIONS);
        await saved.catch((error) => console.log(error + ""));
      }`;
    const { lines } = await run("bun other.ts", { other });
    const names = ['""', '"."', '".."', '"../x"', '"a/b"', '"a\\b"', '"a/"'];
    expect(lines).toEqual([
      ...names.map((name) => `RangeError: not the name of a file: ${name}`),
      ...["exit 0", 'got/x.gif: 9 bytes, "any bytes"'],
    ]);
  });

  test("throws the file system's error as a cause, once it has cleaned up", async () => {
    const other = `import { mkdirSync, readdirSync } from "node:fs";
      mkdirSync("got/BR.gif", { recursive: true });
      for (let i = 0; i < 50; i++) {
        const saved = saveFlag(Buffer.from("any bytes"), "BR.gif", OPTIONS);
        await saved.catch(({ message, cause }) =>
          console.log(message, cause.code, "beside " + readdirSync("got")));
      }`;
    const { lines } = await run("bun other.ts | sort -u", { other });
    const error = "EISDIR saving got/BR.gif EISDIR beside BR.gif";
    expect(lines).toEqual([error, "exit 0", "got/BR.gif: empty"]);
  });
});

describe.concurrent("getFlag", () => {
  test("takes two letters in either case, and asks for nothing else", async () => {
    using server = await serve();
    const codes = ["", "B", "B1", "BRA", "br\n", "\u212Ae", "\u00df", "../x"];
    const other = `for (const cc of [...${JSON.stringify(codes)}, "br", "BR"]) {
      const flag = getFlag(cc, OPTIONS).then((bytes) => bytes.length);
      console.log(await flag.catch((error) => error.name));
    }`;
    const { lines } = await run("bun other.ts", { server, other });
    expect(lines).toEqual([
      ...Array(8).fill("RangeError"),
      "4007",
      "4007",
      "exit 0",
    ]);
    expect(server.asked).toEqual(["/flags/br/br.gif", "/flags/br/br.gif"]);
  });

  test("throws the errors of fetch, and the Response of what is no flag", async () => {
    using server = await serve({
      de: () => {},
      in: http("503 Busy", "x", ["Content-Length: 99"]),
      us: http("200 OK", PAGE),
    });
    const other = `const failure = (cc, options) =>
      getFlag(cc, { ...OPTIONS, ...options }).catch((it) => it);
      console.log((await failure("de", { timeoutMs: 300 })).name);
      const refused = await failure("br", { baseUrl: "http://127.0.0.1:1" });
      console.log(refused instanceof TypeError, refused.code);
      for (const cc of ["in", "us"]) {
        const { cause } = await failure(cc);
        console.log(cause instanceof Response, cause.status);
      }`;
    const { lines } = await run("bun other.ts", { server, other });
    const shown = ["TimeoutError", "true ECONNREFUSED", "true 503", "true 200"];
    expect(lines).toEqual([...shown, "exit 0"]);
  });
});

describe.concurrent("downloadOne and others", () => {
  test("save under the code as given what another function gets", async () => {
    using server = await serve();
    const other = `const get = async (cc, options) => {
        if (options !== OPTIONS) throw new Error("other options");
        if (cc === "us") return Buffer.from("any bytes");
        return getFlag("BR", options);
      };
      for (const cc of ["BR", "us", "../X"]) {
        console.log(await downloadOne(cc, OPTIONS, get));
      }`;
    const { lines } = await run("bun other.ts", { other, server });
    expect(lines).toEqual([
      ...["BR true", "us true", "", "false"],
      '! ../X: not the name of a file: "../X.gif"',
      ...["exit 0", "got: BR", 'got/us.gif: 9 bytes, "any bytes"'],
    ]);
  });

  test("always have a reason for a failure", async () => {
    const other = `const errors = [
        "no Error", null, "", 42, new AggregateError([]), new Error("too far"),
        Object.assign(new Error("a file"), { code: "EIO", path: "x" }),
        Object.assign(new TypeError("no code"), { path: "http://x.test" }),
        Object.assign(new TypeError("words"), { code: "EIO", path: "http://x" }),
        new Error("two\\nlines or\\u0007three\\u202e."),
      ];
      for (const error of errors) {
        await downloadOne("BR", OPTIONS, async () => { throw error; });
      }`;
    const { lines } = await run("bun other.ts", { other });
    const reasons = [
      ...["no Error", "no reason", "no reason", "42"],
      ...["AggregateError", "too far"],
      ...["a file", "no code fetching http://x.test", "EIO fetching http://x"],
      "two lines or three .",
    ].map((reason) => `! BR: ${reason}`);
    expect(lines).toEqual([...reasons, "exit 0"]);
  });

  test("stop a script at the line of its mistake", async () => {
    const other = `const image = Buffer.from("any bytes");
      const get = async () => image;
      const mistakes = [
        async () => await downloadOne("BR"),
        async () => await downloadMany(["BR"]),
        async () => await saveFlag(image, "BR.gif"),
        async () => await downloadOne("BR", { ...OPTIONS, baseUrl: undefined }),
        async () => await downloadOne("BR", { ...OPTIONS, destDir: undefined }, get),
        async () => await downloadOne("BR", { ...OPTIONS, timeoutMs: undefined }),
        async () => await saveFlag(get(), "BR.gif", OPTIONS),
        async () => await downloadOne("BR", OPTIONS, async () => {}),
        async () => await downloadOne("BR", OPTIONS, async () => images),
        async () => await ["BR"].map(downloadOne)[0],
      ];
      for (const mistake of mistakes) {
        await mistake().catch(({ name, stack, message }) =>
          console.log(name, /other\\.ts:\\d/.test(stack), message.slice(0, 18)));
      }`;
    const { lines } = await run("bun other.ts", { other });
    expect(lines).toEqual([
      ...Array(3).fill("TypeError true Cannot destructure"),
      "TypeError true fetch() URL is inv",
      'TypeError true The "paths[0]" pro',
      "TypeError true Value NaN is outsi",
      ...Array(2).fill("TypeError true no bytes to save:"),
      "ReferenceError true images is not defi",
      "TypeError true get is not a funct",
      "exit 0",
    ]);
  });

  test("sort codes, count, and hand on another function for getFlag", async () => {
    using server = await serve();
    const other = `const codes = Object.freeze(["US", "BR", "VN", "CN"]);
      const get = async (cc, options) => {
        if (cc === "CN") throw new Error("not today");
        return getFlag(cc, options);
      };
      console.log(await downloadMany(codes, OPTIONS, get));`;
    const { lines } = await run("bun other.ts", { other, server });
    const shown = ["BR", "US VN 3", "! CN: not today", "exit 0"];
    expect(lines).toEqual([...shown, "got: BR US VN"]);
  });

  test("show what showCode, showFailure and explain show", async () => {
    const other = `showCode("BR"), showCode("CN");
      showFailure("DE", new Error("gone")), showFailure("EG", "busy");
      showCode("VN"), console.log(explain(new Error("gone")));`;
    const { lines } = await run("bun other.ts 2>&1", { other });
    const shown = ["BR CN", "DE: gone", "EG: busy", "VN gone", "exit 0"];
    expect(lines).toEqual(shown);
  });
});

describe.concurrent("main", () => {
  const given = `await main(async (codes, options) => {
      console.log(codes.join(" "), JSON.stringify(options));
      return codes.length;
    });`;

  test("calls a function with what the command line says", async () => {
    const line = `bun other.ts
      bun other.ts us br --timeout 0.0015 --dest a/b --server http://x.test/y
      bun other.ts br -t 300`;
    const { lines } = await run(line, { other: given });
    const url = "https://www.fluentpython.com/data/flags";
    expect(lines).toEqual([
      `${CODES} {"baseUrl":"${url}","destDir":"downloaded","timeoutMs":6100}`,
      "20 downloads in #s",
      'BR US {"baseUrl":"http://x.test/y","destDir":"a/b","timeoutMs":1.5}',
      "2 downloads in #s",
      `BR {"baseUrl":"${url}","destDir":"downloaded","timeoutMs":300000}`,
      "1 downloads in #s",
      ...["exit 0", "a/b: empty", "downloaded: empty"],
    ]);
  });

  test("lets a class empty its queue with shift()", async () => {
    const other = `await main(async (codes, options) => {
      let count = 0;
      while (codes.length > 0) {
        if (await downloadOne(codes.shift(), options)) count++;
      }
      return count;
    });`;
    const line = "bun other.ts --delay 0.01";
    const { lines } = await run(line, { other });
    expect(lines.slice(0, 3)).toEqual([CODES, "20 downloads in #s", "exit 0"]);
  });

  test("says if an await is missing, and blames no network", async () => {
    const other = `await main(async (codes, options) => {
      return codes.filter((cc) => downloadOne(cc, options)).length;
    });`;
    const { lines } = await run("bun other.ts --demo br ch", { other });
    const hint = "! 2 still run: is an await missing?";
    const failure = "! CH: HTTP 404 Not Found: SERVER/ch/ch.gif";
    const rest = [hint, failure, "exit 1", "demo, made up: BR"];
    expect(lines).toEqual(["2 downloads in #s", "BR", ...rest]);
  });

  test("times the downloader, not what comes before", async () => {
    const other = `const start = performance.now();
      await main(() => 1, Array(1_000_000).fill("br"));
      console.log((performance.now() - start) / 1000);`;
    const { lines, seconds } = await run("bun other.ts", { other });
    expect(seconds, "seconds").toBeLessThan(Number(lines[1]) / 2);
  });

  test("sets the status 1 if it gets another number, and no later success hides that", async () => {
    const other = `const counts = [process.argv[2], 2];
      for (const n of counts) await main(() => n && Number(n), ["br", "us"]);`;
    const line = "for n in '' 1 3 2; do bun other.ts $n; echo status $?; done";
    const { lines } = await run(line, { other });
    const last = "2 downloads in #s";
    expect(lines).toEqual([
      ...["undefined of 2 downloads in #s", last, "status 1"],
      ...["1 of 2 downloads in #s", last, "status 1"],
      ...["3 of 2 downloads in #s", last, "status 1"],
      ...[last, last, "status 0", "exit 0", "downloaded: empty"],
    ]);
  });

  test("throws what the function throws, and never ends the script", async () => {
    const other = `const bug = async () => { throw "a bug"; };
      await main(bug, ["--demo"]).catch((it) => console.log("caught", it));
      await main(bug, ["--foo"]), console.log("goes on");`;
    const { lines } = await run("bun other.ts", { other });
    expect(lines.slice(0, 2)).toEqual(["caught a bug", "goes on"]);
  });
});

// flags.ts may be copied without the page.
describe.concurrent.skipIf(!read("README.md"))("README.md", () => {
  const page = read("README.md");
  const blocks = (language: string) =>
    [...page.matchAll(RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(
      ([, block]) => block!,
    );
  const scripts: Record<string, string> = {};
  for (const code of blocks("ts")) scripts[/\w+\.ts/.exec(code)![0]] = code;
  const beside = (other = {}) => folder({ ...scripts, ...other });

  test("has a lesson that is written beside flags.ts, over no other script", async () => {
    const names = Object.keys(scripts);
    const files = ["README.md", "package.json", "bunfig.toml"];
    const cwd = folder(Object.fromEntries(files.map((it) => [it, read(it)])));
    const line = `bun run lesson; echo // mine >> mistakes.ts; bun run lesson
      tail -n 1 mistakes.ts; echo > README.md; bun run lesson`;
    const { lines } = await run(line, { cwd });
    expect(lines.slice(0, -3)).toEqual([
      ...names,
      "concurrent.ts is there already",
      "bounded.ts is there already",
      "timeline.ts is there already",
      "retry.ts is there already",
      "mistakes.ts is there, and differs from README.md",
      ...["// mine", "! README.md has no script", "exit 1"],
    ]);
    for (const name of names.slice(0, -1)) {
      expect(fs.readFileSync(join(cwd, name), "utf8")).toBe(scripts[name]!);
    }
    const ignored = expect.arrayContaining([...names, ".env", "errors"]);
    expect(read(".gitignore").split("\n")).toEqual(ignored);
  });

  const commands = blocks("sh").join("");
  const demos = commands.match(/^.*flags.ts --demo/gm) ?? [];
  const first = demos.map((line) => `$ ${line}\n${blocks("text")[0]}`);
  const shown = [...first, ...blocks("console")].flatMap((block) =>
    [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(
      ([, command, output]) => [command!, output!] as const,
    ),
  );

  test.each(shown)("shows, chance aside, %s", async (command, output) => {
    /** Leaves out chance: codes in another order, bars, and tries. */
    const told = (text: string) =>
      usual(text)
        .replace(/^([a-z]{2}) [█░ ]+\n/gm, (row) =>
          command.includes("retry") ? "" : `${row.slice(0, 2)}, and a bar\n`,
        )
        .replace(/^[5-9] of 20/m, "some of 20") // more on a busy machine
        .replace(/^([A-Z]{2}[ \n])+/gm, (codes) => {
          if (command.includes("flags.ts")) return codes; // in order
          if (text.includes(" of 20")) return "(some codes)";
          return codes.trim().split(/\s/).sort().join(" ");
        });
    const { lines } = await run(`{ ${command}; } 2>&1`, { cwd: beside() });
    const [real] = lines.join("\n").split(/^exit /m);
    expect(told(real!)).toBe(told(output));
  });

  test("has times that fit the delays of the demo, and bars that fit the times", () => {
    const limits: [command: RegExp, from: number, to: number][] = [
      [/^bun (--preload .* )?flags.ts.* br (cn us|ch jp)$/, 0.15, 0.48],
      [/^(bun|npx .*) flags.ts --demo$/, 1.6, 2.4], // 50 to 150 ms each
      [/^bun (concurrent|bounded.ts 6)/, 0.05, 0.17],
      [/^bun bounded.ts 5 --busy 5$/, 0.3, 0.6],
      [/^for n in 1 5 20; do bun bounded.ts/, 0.05, 2.4],
      [/^bun .*retry.ts/, 0.1, 3], // with pauses
    ];
    expect(shown).toHaveLength(13);
    for (const [command, output] of shown) {
      const limit = limits.find(([pattern]) => pattern.test(command));
      const [, from = NaN, to = NaN] = limit ?? [];
      const times = output.match(/\d\.\d\d(?=s$)/gm)?.map(Number) ?? [NaN];
      for (const time of times) expect(time, command).toBeWithin(from, to);
      const rows = output.match(/^[a-z]{2} [█░ ]+$/gm) ?? [];
      if (rows.length === 0) continue;
      const end = Math.max(...rows.map((row) => row.length - 3)) * 0.025;
      expect(end, command).toBeWithin(times[0]! - 0.05, times[0]! + 0.05);
    }
  });

  test("has a timeline.ts with bars as long as the answers take", async () => {
    const other = `await main(async (codes, options) => {
      await fetch(new Request(options.baseUrl + "/x/gb-sct.gif"));
      return downloadMany(codes, options);
    });`;
    using server = await serve({ br: http("503 No") }, () => Bun.sleep(200));
    const line = `bun --preload ./timeline.ts other.ts br us -t 20 -s $S
      bun --preload ./timeline.ts flags.ts --help | tail -n 1`;
    const { lines } = await run(line, { cwd: beside(), server, other });
    expect(lines).toContain("  -h, --help         show this help and end");
    const chart = lines.join("\n").matchAll(/^(\S+ +)([█░]+)$/gm);
    const rows = [...chart].map(([, left = "", bar = ""]) => ({ left, bar }));
    const shown = rows.map(({ left, bar }) => left.trim() + bar[0]);
    expect(shown, lines.join("\n")).toEqual(["gb-sct█", "br░", "us█"]);
    const [, ms] = /one column (\d+) ms, 1 at once$/m.exec(lines.join("\n"))!;
    rows.forEach(({ left, bar }, i) => {
      const duration = (bar.length + 1) * Number(ms);
      expect(duration, "ms of an answer").toBeGreaterThanOrEqual(200);
      const before = rows[i - 1]?.left.length ?? 0;
      expect(left.length, "the start of a bar").toBeGreaterThan(before);
    });
  });

  test("has a bounded.ts that asks for N at a time, or for 5", async () => {
    const line = `bun bounded.ts --busy 5 --delay 0.5
      bun bounded.ts --busy 4 --delay 0.5 2> errors
      bun bounded.ts 3 --busy 2 --delay 0.5 br cn de 2> errors`;
    const { lines } = await run(line, { cwd: beside() });
    const counts = lines.filter((line) => line.endsWith(" downloads in #s"));
    const expected = ["20", "4 of 20", "2 of 3"];
    expect(counts).toEqual(expected.map((it) => `${it} downloads in #s`));
  });

  test("has a retry.ts that tries six times, after pauses that grow and vary", async () => {
    const asked = (cc: string) =>
      server.asked.filter((path) => path.endsWith(`${cc}.gif`)).length;
    const flag = http("200 OK", GIF);
    using server = await serve({
      br: (socket) => socket.write(asked("br") < 3 ? http("503 No") : flag),
      cn: http("404 No"),
      de: (socket) => socket.write(http("429 No")),
      us: (socket) => asked("us") > 1 && socket.write(flag),
    });
    const line = "bun retry.ts br cn de -s $S; bun retry.ts us -t 1 -s $S";
    const { lines } = await run(line, { cwd: beside(), server });
    const last = ["1 of 3 downloads in #s", "US", "1 downloads in #s"];
    expect(lines).toEqual(expect.arrayContaining(last));
    expect(["br", "cn", "de"].map(asked)).toEqual([3, 1, 6]);
    const said = lines.join("\n").matchAll(/^! DE: 429, again in (.*) s$/gm);
    const shares = [...said].map(([, s], i) => Number(s) / 0.1 / 2 ** i);
    expect(shares, "pauses").toHaveLength(5);
    for (const share of shares) expect(share, "pause").toBeWithin(0.4, 1.6);
    const range = Math.max(...shares) - Math.min(...shares);
    expect(range, `of the pauses, which are ${shares}`).toBeGreaterThan(0.1);
  });

  test("has five mistakes that show what stands beside them", async () => {
    const comments = scripts["mistakes.ts"]!.match(/\/\/ .*".*": .*$/gm)!;
    expect(comments).toHaveLength(5);
    for (const [i, comment] of comments.entries()) {
      const line = `bun mistakes.ts ${i + 1} --demo br us`;
      const { lines } = await run(line, { cwd: beside() });
      const said = lines.join("\n").replace("US BR", "BR US");
      const seen = comment.match(/(?<=")[^",]+(?=")/g)!;
      for (const part of seen) expect(said, line).toContain(part);
    }
  });

  test("names the Bun and the tests of CI", () => {
    const { devDependencies, engines } = JSON.parse(read("package.json"));
    const version = devDependencies["@types/bun"];
    for (const text of [page, read(".ci/run")]) {
      const calls = text.match(/\b(npx|npm install) .*bun@[^\s`']+/g);
      for (const call of calls ?? ["no call"]) {
        expect(call).toMatch(RegExp(` --allow-scripts=bun .*bun@${version}$`));
      }
      expect(text).toMatch(/^(.* && )?bun test\b/m);
    }
    expect(page).toContain(`Bun (${engines.bun.replace(">=", "")} or later)`);
  });

  const types = join(import.meta.dir, "node_modules");
  const checking = test.skipIf(!fs.existsSync(join(types, "@types", "bun")));
  checking("has settings with which an editor finds mistakes", async () => {
    const strict = `strict exactOptionalPropertyTypes noUnusedLocals
      noUnusedParameters noUncheckedIndexedAccess noImplicitReturns
      noPropertyAccessFromIndexSignature erasableSyntaxOnly isolatedModules`;
    const settings = JSON.parse(blocks("json")[0]!);
    for (const it of strict.split(/\s+/)) settings.compilerOptions[it] = true;
    const cwd = beside({ "tsconfig.json": JSON.stringify(settings) });
    fs.symlinkSync(types, join(cwd, "node_modules"), "junction");
    const mistake = `import { downloadOne } from "./flags.ts";
      await downloadOne("BR");`;
    const line = `bun check 2>&1; echo '${mistake}' > bad.ts; bun check 2>&1`;
    const { lines } = await run(line, { cwd });
    expect(lines[0]).toStartWith("✓ No type errors");
    expect(lines[1]).toContain("bad.ts(2,13): error TS2554");
  });
});
