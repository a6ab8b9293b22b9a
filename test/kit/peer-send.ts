/**
 * The sending half of the test peer: a plain Reno sender with SACK holes, RTO and window probes
 * (RFC 5681, RFC 6298, RFC 6675 in small). All positions are offsets in the stream, 0 the first
 * byte after the SYN; a FIN takes the offset after the last byte.
 */

export interface Piece {
  readonly off: number;
  readonly bytes: Uint8Array;
  readonly fin: boolean;
}

const RTO_MIN_US = 200_000;
const RTO_MAX_US = 60_000_000;
const RTO_FIRST_US = 1_000_000;
const RETRIES_MAX = 15;
const DUPLICATES = 3;

type Range = readonly [number, number];

/** Adds a range to sorted, disjoint ones, joining what touches. */
export function addRange(ranges: readonly Range[], [left, right]: Range): Range[] {
  const apart = ranges.filter(([l, r]) => r < left || l > right);
  const joined = ranges.filter(([l, r]) => r >= left && l <= right);
  const low = Math.min(left, ...joined.map(([l]) => l));
  const high = Math.max(right, ...joined.map(([, r]) => r));
  return [...apart, [low, high] as const].sort((a, b) => a[0] - b[0]);
}

export class PeerSender {
  mss = 536;
  /** Most payload of one packet; more than mss for super-packets. */
  pieceBytes = 536;
  una = 0;
  nxt = 0;
  /** One past the highest offset ever sent. */
  max = 0;
  /** Right edge of the window that the far end offered. */
  edge = 0;
  cwnd = 0;
  ssthresh = Infinity;
  gaveUp = false;
  retransmits = 0;
  hasSack = false;
  #stream = new Uint8Array(0);
  #finished = false;
  #sacked: Range[] = [];
  #duplicates = 0;
  /** Recovery lasts until this is acknowledged; -1 outside of one. */
  #recover = -1;
  #repairFrom = 0;
  #srttUs = 0;
  #rttvarUs = 0;
  #rtoUs = RTO_FIRST_US;
  #retries = 0;
  #probeDue = false;
  #timedOff = -1;
  #timedUs = 0;
  timerUs = Infinity;

  /** Bytes and FIN together. */
  get end(): number {
    return this.#stream.length + (this.#finished ? 1 : 0);
  }

  get isFinished(): boolean {
    return this.#finished;
  }

  get isAllAcked(): boolean {
    return this.una === this.end;
  }

  get isFinAcked(): boolean {
    return this.#finished && this.isAllAcked;
  }

  get stream(): Uint8Array {
    return this.#stream;
  }

  append(bytes: Uint8Array): void {
    if (this.#finished) throw new Error("the peer's stream is finished");
    const longer = new Uint8Array(this.#stream.length + bytes.length);
    longer.set(this.#stream);
    longer.set(bytes, this.#stream.length);
    this.#stream = longer;
  }

  finish(): void {
    this.#finished = true;
  }

  /** An acknowledgement; `ranges` are SACK blocks as offsets. */
  onAck(ack: number, edge: number, ranges: readonly Range[], isPure: boolean, nowUs: number): void {
    const isDuplicate = ack === this.una && edge === this.edge && isPure && this.nxt > this.una;
    this.edge = Math.max(this.edge, edge);
    for (const range of ranges) {
      if (range[0] >= ack && range[1] <= this.max && range[0] < range[1]) {
        this.#sacked = addRange(this.#sacked, range);
      }
    }
    if (ack > this.una) this.#advance(ack, nowUs);
    else if (isDuplicate) this.#duplicates++;
    this.#checkLoss();
    if (ack < this.end && this.edge > this.nxt) this.#probeDue = false;
    this.#arm(nowUs, ack > this.una);
  }

  #advance(ack: number, nowUs: number): void {
    const newly = ack - this.una;
    if (this.#timedOff >= 0 && ack > this.#timedOff) {
      this.#measure(nowUs - this.#timedUs);
      this.#timedOff = -1;
    }
    this.una = ack;
    this.nxt = Math.max(this.nxt, ack);
    this.#sacked = this.#sacked.filter(([, right]) => right > ack);
    this.#duplicates = 0;
    this.#retries = 0;
    this.timerUs = Infinity;
    if (this.#recover >= 0 && ack >= this.#recover) {
      this.#recover = -1;
      this.cwnd = this.ssthresh;
    } else if (this.#recover >= 0) {
      this.#repairFrom = Math.max(this.#repairFrom, ack);
      if (!this.hasSack) this.#repairFrom = ack;
    } else if (this.cwnd < this.ssthresh) {
      this.cwnd += newly;
    } else {
      this.cwnd += Math.ceil((this.mss * newly) / this.cwnd);
    }
  }

  #measure(sampleUs: number): void {
    if (this.#srttUs === 0) {
      this.#srttUs = sampleUs;
      this.#rttvarUs = sampleUs / 2;
    } else {
      this.#rttvarUs += (Math.abs(this.#srttUs - sampleUs) - this.#rttvarUs) / 4;
      this.#srttUs += (sampleUs - this.#srttUs) / 8;
    }
    const rto = Math.round(this.#srttUs + 4 * this.#rttvarUs);
    this.#rtoUs = Math.min(Math.max(rto, RTO_MIN_US), RTO_MAX_US);
  }

  #checkLoss(): void {
    if (this.#recover >= 0 || this.una >= this.max) return;
    const highest = this.#sacked.at(-1)?.[1] ?? 0;
    const isShown = this.#duplicates >= DUPLICATES || highest - this.una > DUPLICATES * this.mss;
    if (!isShown) return;
    this.ssthresh = Math.max((this.nxt - this.una) / 2, 2 * this.mss);
    this.cwnd = this.ssthresh;
    this.#recover = this.max;
    this.#repairFrom = this.una;
  }

  /** The next piece to send now, or undefined. */
  next(nowUs: number): Piece | undefined {
    return this.#repair(nowUs) ?? this.#fresh(nowUs) ?? this.#probe(nowUs);
  }

  /** A hole below what the far end has, each once a recovery. */
  #repair(nowUs: number): Piece | undefined {
    if (this.#recover < 0) return undefined;
    const highest = this.hasSack ? (this.#sacked.at(-1)?.[0] ?? this.una + 1) : this.una + 1;
    let from = Math.max(this.#repairFrom, this.una);
    for (const [left, right] of this.#sacked) if (from >= left && from < right) from = right;
    if (from >= highest || from >= this.max) return undefined;
    const next = this.#sacked.find(([left]) => left > from)?.[0] ?? this.max;
    const piece = this.#piece(from, Math.min(this.mss, next - from, this.max - from));
    this.#repairFrom = from + Math.max(1, piece.bytes.length + (piece.fin ? 1 : 0));
    this.#sent(piece, nowUs, true);
    return piece;
  }

  #fresh(nowUs: number): Piece | undefined {
    for (const [left, right] of this.#sacked) {
      if (this.nxt >= left && this.nxt < right) this.nxt = right;
    }
    const room = Math.min(this.una + this.cwnd, this.edge) - this.nxt;
    const left = this.end - this.nxt;
    if (room <= 0 || left <= 0) return undefined;
    const next = this.#sacked.find(([edge]) => edge > this.nxt)?.[0] ?? Infinity;
    const most = Math.floor(Math.min(this.pieceBytes, room, left, next - this.nxt));
    if (most <= 0) return undefined;
    const piece = this.#piece(this.nxt, most);
    const isAgain = this.nxt < this.max;
    this.nxt = piece.off + piece.bytes.length + (piece.fin ? 1 : 0);
    this.max = Math.max(this.max, this.nxt);
    this.#sent(piece, nowUs, isAgain);
    return piece;
  }

  #probe(nowUs: number): Piece | undefined {
    if (!this.#probeDue) return undefined;
    this.#probeDue = false;
    const piece = this.#piece(this.una, 1);
    this.max = Math.max(this.max, this.una + 1);
    this.nxt = Math.max(this.nxt, this.una + 1);
    this.#sent(piece, nowUs, true);
    return piece;
  }

  #piece(off: number, length: number): Piece {
    const bytes = this.#stream.subarray(off, Math.min(off + length, this.#stream.length));
    const fin = this.#finished && off + length > this.#stream.length;
    return { off, bytes, fin };
  }

  #sent(piece: Piece, nowUs: number, isAgain: boolean): void {
    if (isAgain) {
      this.retransmits++;
      this.#timedOff = -1;
    } else if (this.#timedOff < 0) {
      this.#timedOff = piece.off;
      this.#timedUs = nowUs;
    }
    this.#arm(nowUs, false);
  }

  #arm(nowUs: number, restart: boolean): void {
    if (this.una >= this.nxt && this.una >= this.end) this.timerUs = Infinity;
    else if (restart || this.timerUs === Infinity) {
      this.timerUs = nowUs + Math.min(this.#rtoUs * 2 ** this.#retries, RTO_MAX_US);
    }
  }

  /** The retransmission or probe timer, when due. */
  onTimer(nowUs: number): void {
    if (nowUs < this.timerUs) return;
    this.timerUs = Infinity;
    const isShut = this.edge <= this.una;
    if (++this.#retries > RETRIES_MAX && !isShut) {
      this.gaveUp = true;
      return;
    }
    this.#retries = Math.min(this.#retries, RETRIES_MAX);
    if (isShut) {
      this.#probeDue = true;
    } else if (this.una < this.max) {
      this.ssthresh = Math.max((this.nxt - this.una) / 2, 2 * this.mss);
      this.cwnd = this.mss;
      this.nxt = this.una;
      this.#recover = -1;
      this.#duplicates = 0;
      this.#timedOff = -1;
      // The far end may have dropped what it reported (reneging); after a timeout, trust nothing.
      if (this.#retries > 1) this.#sacked = [];
    }
    this.#arm(nowUs, true);
  }
}
