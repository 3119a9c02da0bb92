import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameReader, writeFrame } from "./framing.ts";
import { decodeMessage, encodeMessage, formatTimeout, parseTimeout } from "./metadata.ts";
import { GrpcError, GrpcStatus } from "./service.ts";

/** What `writeFrame` writes. */
function framed(parts: readonly Uint8Array[]): Buffer {
  const written: Uint8Array[] = [];
  const sink = {
    cork: () => {},
    uncork: () => {},
    write: (chunk: Uint8Array) => {
      written.push(chunk);
      return true;
    },
  };
  writeFrame(sink, parts);
  return Buffer.concat(written);
}

test("messages written in parts are read back, wherever the stream is cut", () =>
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.uint8Array({ maxLength: 6000 }), { maxLength: 3 }), { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }),
      (messages, cuts) => {
        const wire = Buffer.concat(messages.map(framed));
        const reader = new FrameReader(20_000);
        const got: Buffer[] = [];
        for (let at = 0, i = 0; at < wire.length; i++) {
          const size = cuts[i % cuts.length] ?? 1;
          // Copied, so that a message that is a view of the wrong place shows.
          const chunk = Uint8Array.prototype.slice.call(wire, at, at + size);
          for (const { message } of reader.push(chunk)) got.push(Buffer.from(message));
          at += size;
        }
        expect(reader.isPartial).toBe(false);
        expect(got.map((each) => each.toString("hex"))).toStrictEqual(
          messages.map((parts) => Buffer.concat(parts).toString("hex")),
        );
      },
    ),
  ));

test("arbitrary bytes give messages or a GrpcError, never more than the limit", () =>
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (chunks) => {
      const reader = new FrameReader(16);
      try {
        for (const chunk of chunks) {
          for (const { message } of reader.push(chunk)) expect(message.length).toBeLessThan(17);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(GrpcError);
      }
    }),
  ));

test("a status message survives its encoding, which is printable ASCII", () =>
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (message) => {
      const encoded = encodeMessage(message);
      expect(encoded).toMatch(/^[\x20-\x7e]*$/);
      expect(decodeMessage(encoded)).toBe(message);
    }),
  ));

test("escapes that are none stand for themselves", () => {
  expect(decodeMessage("100% %zz %4 %41")).toBe("100% %zz %4 A");
});

test.each([
  ["1S", 1000],
  ["99999999n", 99.999999],
  ["2H", 7_200_000],
  [undefined, undefined],
])("grpc-timeout %s is %s ms", (header, ms) => {
  expect(parseTimeout(header)).toBe(ms);
});

test.each(["", "1", "S", "-1S", "1.5S", "123456789S", "1s"])(
  "grpc-timeout %j is refused",
  (text) => {
    expect(() => parseTimeout(text)).toThrow(
      expect.objectContaining({ code: GrpcStatus.INVALID_ARGUMENT }),
    );
  },
);

test("a timeout is written in eight digits, and never as none", () => {
  expect(formatTimeout(0.2)).toBe("1m");
  expect(formatTimeout(99_999_999)).toBe("99999999m");
  expect(formatTimeout(1e9)).toBe("1000000S");
});
