/**
 * The bytes of fragments (ip/reassemble.ts): pieces of one chunk each, of a pool of their own, in
 * lists sorted by offset. A fragment that needs several pieces has them next to each other.
 */
import { CHUNK_BYTES } from "../layout";
import { copy } from "../mem/bytes";
import { piecesBase, piecesCount } from "../mem/pools";

/** A list's head is the address of its first piece, or 0. */
@unmanaged
export class Piece {
  nextPtr: u32;
  /** Bytes [offset, offset + len) of the datagram. */
  offset: u32;
  len: u32;
  /** Length of the fragment if this is its first piece, else 0. */
  fragmentLen: u32;

  @inline get next(): Piece | null {
    return pieceAt(this.nextPtr);
  }
  @inline set next(piece: Piece | null) {
    this.nextPtr = <u32>changetype<usize>(piece);
  }
  @inline get data(): usize {
    return changetype<usize>(this) + 16;
  }
}

if (offsetof<Piece>() != 16) ERROR("Piece must be 16 bytes");

/** Bytes that a piece holds. */
export const PIECE_BYTES: u32 = CHUNK_BYTES - 16;

let freeHead: u32 = 0;
/** Pieces that were used at least once; those behind are touched when they are needed. */
let usedCount: u32 = 0;
let takenCount: u32 = 0;

export function piecesFree(): u32 {
  return piecesCount() - takenCount;
}

/** The piece at an address; 0 is none. */
export function pieceAt(ptr: u32): Piece | null {
  return changetype<Piece | null>(<usize>ptr);
}

/** The last piece of a list that begins before `offset`. */
export function pieceBefore(head: u32, offset: u32): Piece | null {
  let before: Piece | null = null;
  let piece = pieceAt(head);
  while (piece) {
    if (piece.offset >= offset) break;
    before = piece;
    piece = piece.next;
  }
  return before;
}

/** Where the furthest byte of a list ends. */
export function piecesEnd(head: u32): u32 {
  let end: u32 = 0;
  let piece = pieceAt(head);
  while (piece) {
    end = piece.offset + piece.len;
    piece = piece.next;
  }
  return end;
}

/** Whether the fragment that begins with `piece` has the same place and bytes. */
export function isSameFragment(piece: Piece, offset: u32, data: usize, len: u32): bool {
  if (piece.offset != offset || piece.fragmentLen != len) return false;
  let at: Piece | null = piece;
  let done: u32 = 0;
  while (at && done < len) {
    if (memory.compare(at.data, data + done, at.len) != 0) return false;
    done += at.len;
    at = at.next;
  }
  return done == len;
}

/**
 * Copies a fragment into a list after `before` (null: at its head): the new head. The caller made
 * sure that there are pieces enough.
 */
export function putFragment(
  head: u32,
  before: Piece | null,
  offset: u32,
  data: usize,
  len: u32,
): u32 {
  let first = head;
  let last = before;
  for (let done: u32 = 0; done < len; done += PIECE_BYTES) {
    const piece = takePiece();
    piece.offset = offset + done;
    piece.len = min(PIECE_BYTES, len - done);
    piece.fragmentLen = done == 0 ? len : 0;
    copy(piece.data, data + done, piece.len);
    if (last) {
      piece.nextPtr = last.nextPtr;
      last.next = piece;
    } else {
      piece.nextPtr = first;
      first = <u32>changetype<usize>(piece);
    }
    last = piece;
  }
  return first;
}

/** Copies the first `most` bytes of a list without gaps. */
export function copyPieces(head: u32, to: usize, most: u32): void {
  let piece = pieceAt(head);
  let done: u32 = 0;
  while (piece && done < most) {
    const bytes = min(piece.len, most - done);
    copy(to + done, piece.data, bytes);
    done += bytes;
    piece = piece.next;
  }
}

/** Gives all pieces of a list back. */
export function givePieces(head: u32): void {
  let piece = pieceAt(head);
  while (piece) {
    const next = piece.next;
    givePiece(piece);
    piece = next;
  }
}

function takePiece(): Piece {
  assert(takenCount < piecesCount());
  takenCount++;
  if (freeHead == 0) {
    usedCount++;
    return changetype<Piece>(piecesBase() + <usize>(usedCount - 1) * CHUNK_BYTES);
  }
  const piece = changetype<Piece>(<usize>freeHead);
  freeHead = piece.nextPtr;
  return piece;
}

function givePiece(piece: Piece): void {
  piece.nextPtr = freeHead;
  freeHead = <u32>changetype<usize>(piece);
  takenCount--;
}
