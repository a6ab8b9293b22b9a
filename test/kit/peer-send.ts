/**
 * The sending half of the test peer: a Reno sender (RFC 5681, RFC 6582) with a SACK scoreboard
 * whose losses are found by time of sending (RFC 8985 in small), RTO (RFC 6298) and window probes.
 * All positions are offsets in the stream, 0 the first byte after the SYN; a FIN takes the offset
 * after the last byte.
 *
 * Longer than 400 lines, because all of it works on the same list of what is in flight.
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

export type Range = readonly [number, number];

/** A run of bytes that was sent at once and is not acknowledged. */
interface Flying {
  off: number;
  end: number;
  atUs: number;
  isHeld: boolean;
  isLost: boolean;
  isRepeat: boolean;
}

export class PeerSender {
  mss = 536;
  /** Most payload of one packet; more than mss for super-packets. */
  pieceBytes = 536;
  una = 0;
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
  /** In order, from #first on. */
  #flying: Flying[] = [];
  #first = 0;
  #heldBytes = 0;
  #lostBytes = 0;
  #duplicates = 0;
  /** Recovery lasts until this is acknowledged; -1 outside of one. */
  #recover = -1;
  #isAfterTimeout = false;
  #srttUs = 0;
  #rttvarUs = 0;
  #minRttUs = Infinity;
  #rtoUs = RTO_FIRST_US;
  #retries = 0;
  #probeDue = false;
  #measureFrom = 0;
  /** The segment that was sent last of those that arrived. */
  #rackUs = -1;
  #rackEnd = 0;
  #rackRttUs = 0;
  /** Reordering is tolerated for so many quarters of the least round trip. */
  #quarters = 1;
  /** Bytes repeated since the window was reduced, not known to be for nothing; what it was. */
  #repeated = 0;
  #before: { cwnd: number; ssthresh: number } | undefined;
  #rtoAtUs = Infinity;
  #lateAtUs = Infinity;

  get timerUs(): number {
    return Math.min(this.#rtoAtUs, this.#lateAtUs);
  }

  /** Next offset to be sent for the first time. */
  get nxt(): number {
    return this.max;
  }

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

  get #pipe(): number {
    return this.max - this.una - this.#heldBytes - this.#lostBytes;
  }

  /* ---- acknowledgements ---- */

  /** An acknowledgement; `ranges` are SACK blocks as offsets. */
  onAck(ack: number, edge: number, ranges: readonly Range[], isPure: boolean, nowUs: number): void {
    const isDuplicate = ack === this.una && edge === this.edge && isPure && this.max > this.una;
    this.edge = Math.max(this.edge, edge);
    const isAdvance = ack > this.una;
    const pipe = this.#pipe;
    const [first, second] = ranges;
    if (first !== undefined && first[0] < ack) this.#onDuplicateReport(first);
    else if (first !== undefined && second !== undefined) {
      if (first[0] >= second[0] && first[1] <= second[1]) this.#onDuplicateReport(first);
    }
    for (const range of ranges) {
      if (range[0] >= ack && range[1] <= this.max && range[0] < range[1]) this.#hold(range, nowUs);
    }
    if (isAdvance) this.#advance(ack, pipe, nowUs);
    else if (isDuplicate && !this.hasSack) this.#countDuplicate();
    this.#findLost(isAdvance, nowUs);
    if (ack < this.end && this.edge > this.max) this.#probeDue = false;
    this.#arm(nowUs, isAdvance);
  }

  #hold([left, right]: Range, nowUs: number): void {
    for (let i = this.#indexOf(left); i < this.#flying.length; i++) {
      const piece = this.#flying[i]!;
      if (piece.off >= right) return;
      if (piece.isHeld) continue;
      if (piece.off < left) {
        this.#split(i, left);
        continue;
      }
      if (piece.end > right) this.#split(i, right);
      this.#arrived(piece, nowUs);
      if (piece.isLost) this.#lostBytes -= piece.end - piece.off;
      piece.isLost = false;
      piece.isHeld = true;
      this.#heldBytes += piece.end - piece.off;
    }
  }

  /** Index of the first piece that ends after `off`. */
  #indexOf(off: number): number {
    let [low, high] = [this.#first, this.#flying.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#flying[middle]!.end <= off) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #split(index: number, at: number): void {
    const piece = this.#flying[index]!;
    this.#flying.splice(index + 1, 0, { ...piece, off: at });
    piece.end = at;
  }

  /** The far end has a piece: a round trip, unless it was repeated, and the newest arrival. */
  #arrived(piece: Flying, nowUs: number): void {
    const rttUs = nowUs - piece.atUs;
    if (piece.isRepeat) {
      if (rttUs < this.#minRttUs) return;
    } else {
      this.#minRttUs = Math.min(this.#minRttUs, rttUs);
      if (this.una >= this.#measureFrom) {
        this.#measureFrom = this.max;
        this.#measure(rttUs);
      }
    }
    if (piece.atUs < this.#rackUs) return;
    if (piece.atUs === this.#rackUs && piece.end < this.#rackEnd) return;
    [this.#rackUs, this.#rackEnd, this.#rackRttUs] = [piece.atUs, piece.end, rttUs];
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

  #advance(ack: number, pipe: number, nowUs: number): void {
    const newly = ack - this.una;
    this.una = ack;
    for (let piece = this.#flying[this.#first]; piece && piece.off < ack;) {
      const bytes = Math.min(piece.end, ack) - piece.off;
      if (piece.isHeld) this.#heldBytes -= bytes;
      else this.#arrived(piece, nowUs);
      if (piece.isLost) this.#lostBytes -= bytes;
      piece.off += bytes;
      if (piece.off === piece.end) this.#first++;
      piece = this.#flying[this.#first];
    }
    if (this.#first > 1000 || this.#first === this.#flying.length) {
      this.#flying = this.#flying.slice(this.#first);
      this.#first = 0;
    }
    if (!this.hasSack) this.#forgetDuplicates(newly);
    this.#retries = 0;
    if (this.#recover >= 0 && ack >= this.#recover) this.#endRecovery();
    else if (this.#recover < 0 || this.#isAfterTimeout) this.#grow(newly, pipe);
  }

  #grow(newly: number, pipe: number): void {
    if (pipe < this.cwnd / 2 && !this.#isAfterTimeout) return;
    if (this.cwnd < this.ssthresh) this.cwnd += newly;
    else this.cwnd += Math.ceil((this.mss * newly) / this.cwnd);
  }

  #countDuplicate(): void {
    this.#duplicates++;
    this.#believeDuplicates();
  }

  /** Without SACK each duplicate says that one segment arrived. */
  #believeDuplicates(): void {
    const most = Math.max(0, this.max - this.una - this.#lostBytes - this.mss);
    this.#heldBytes = Math.min(this.#duplicates * this.mss, most);
  }

  #forgetDuplicates(newly: number): void {
    const segments = Math.max(1, Math.round(newly / this.mss)) - 1;
    this.#duplicates = this.#recover < 0 ? 0 : Math.max(0, this.#duplicates - segments);
    this.#believeDuplicates();
  }

  /* ---- losses ---- */

  #findLost(isAdvance: boolean, nowUs: number): void {
    this.#lateAtUs = Infinity;
    if (this.una >= this.max) return;
    const lost = this.#lostBytes;
    if (this.hasSack) this.#findLate(nowUs);
    else {
      const isPartial = isAdvance && this.#recover >= 0 && !this.#isAfterTimeout;
      const isThird = this.#recover < 0 && this.#duplicates >= DUPLICATES;
      if (isPartial || isThird) this.#markFirst();
    }
    if (this.#lostBytes > lost && this.#recover < 0) this.#reduce();
  }

  #markFirst(): void {
    const piece = this.#flying[this.#first]!;
    if (piece.isLost) return;
    if (piece.end - piece.off > this.mss) this.#split(this.#first, piece.off + this.mss);
    this.#markLost(piece);
  }

  #markLost(piece: Flying): void {
    piece.isLost = true;
    this.#lostBytes += piece.end - piece.off;
  }

  /** What was sent before something that arrived, and is late by more than reordering explains. */
  #findLate(nowUs: number): void {
    if (this.#rackUs < 0 || (this.#heldBytes === 0 && this.#recover < 0)) return;
    const isFast = this.#recover >= 0 && this.#quarters === 1;
    const windowUs = isFast ? 0 : (this.#minRttUs * this.#quarters) / 4;
    const waitUs = Math.ceil(this.#rackRttUs + Math.min(windowUs, this.#srttUs));
    for (let i = this.#first; i < this.#flying.length; i++) {
      const piece = this.#flying[i]!;
      if (piece.isHeld || piece.isLost) continue;
      const isBefore =
        piece.atUs < this.#rackUs || (piece.atUs === this.#rackUs && piece.end < this.#rackEnd);
      if (!isBefore && !piece.isRepeat) break;
      if (!isBefore) continue;
      const dueUs = piece.atUs + waitUs;
      if (dueUs <= nowUs) this.#markLost(piece);
      else this.#lateAtUs = Math.min(this.#lateAtUs, dueUs);
    }
  }

  #reduce(): void {
    this.#before = { cwnd: this.cwnd, ssthresh: this.ssthresh };
    this.#repeated = 0;
    this.ssthresh = Math.max(Math.min(this.max - this.una, this.cwnd) / 2, 2 * this.mss);
    this.cwnd = this.ssthresh;
    this.#recover = this.max;
    this.#isAfterTimeout = false;
  }

  #endRecovery(): void {
    this.cwnd = this.#isAfterTimeout ? this.cwnd : this.ssthresh;
    this.#recover = -1;
    this.#isAfterTimeout = false;
    this.#duplicates = 0;
    if (!this.hasSack) this.#heldBytes = 0;
  }

  /** A D-SACK: something was repeated for nothing; if all was, there was no loss. */
  #onDuplicateReport([left, right]: Range): void {
    this.#quarters = Math.min(this.#quarters + 1, 16);
    if (this.#before === undefined || this.#repeated === 0) return;
    this.#repeated = Math.max(0, this.#repeated - (right - left));
    if (this.#repeated > 0) return;
    this.cwnd = Math.max(this.cwnd, this.#before.cwnd);
    this.ssthresh = Math.max(this.ssthresh, this.#before.ssthresh);
    this.#before = undefined;
    if (this.#recover < 0) return;
    this.#recover = -1;
    this.#isAfterTimeout = false;
    for (const piece of this.#flying) piece.isLost = false;
    this.#lostBytes = 0;
  }

  /* ---- what to send ---- */

  /** The next piece to send now, or undefined. */
  next(nowUs: number): Piece | undefined {
    return this.#repair(nowUs) ?? this.#fresh(nowUs) ?? this.#probe(nowUs);
  }

  #repair(nowUs: number): Piece | undefined {
    if (this.#lostBytes === 0) return undefined;
    if (this.#pipe > 0 && this.#pipe + this.mss > this.cwnd) return undefined;
    for (let i = this.#first; i < this.#flying.length; i++) {
      const lost = this.#flying[i]!;
      if (!lost.isLost) continue;
      if (lost.end - lost.off > this.mss) this.#split(i, lost.off + this.mss);
      if (lost.off >= this.edge) return undefined;
      lost.isLost = false;
      lost.isRepeat = true;
      lost.atUs = nowUs;
      this.#lostBytes -= lost.end - lost.off;
      this.#repeated += lost.end - lost.off;
      this.retransmits++;
      this.#arm(nowUs, i === this.#first);
      return this.#piece(lost.off, lost.end - lost.off);
    }
    throw new Error("the peer lost count of what is lost");
  }

  #fresh(nowUs: number): Piece | undefined {
    const room = Math.min(this.cwnd - this.#pipe, this.edge - this.max);
    const most = Math.floor(Math.min(this.pieceBytes, room, this.end - this.max));
    if (most <= 0) return undefined;
    const piece = this.#piece(this.max, most);
    this.#fly(piece, nowUs);
    return piece;
  }

  #fly({ off, bytes, fin }: Piece, nowUs: number): void {
    const end = off + bytes.length + (fin ? 1 : 0);
    this.max = end;
    const state = { isHeld: false, isLost: false, isRepeat: false };
    this.#flying.push({ off, end, atUs: nowUs, ...state });
    this.#arm(nowUs, false);
  }

  #probe(nowUs: number): Piece | undefined {
    if (!this.#probeDue) return undefined;
    this.#probeDue = false;
    const piece = this.#piece(this.una, 1);
    if (this.max === this.una) this.#fly(piece, nowUs);
    else this.#flying[this.#first]!.isRepeat = true;
    this.retransmits++;
    this.#arm(nowUs, false);
    return piece;
  }

  #piece(off: number, length: number): Piece {
    const bytes = this.#stream.subarray(off, Math.min(off + length, this.#stream.length));
    const fin = this.#finished && off + length > this.#stream.length;
    return { off, bytes, fin };
  }

  /* ---- time ---- */

  #arm(nowUs: number, restart: boolean): void {
    if (this.una >= this.max && this.una >= this.end) this.#rtoAtUs = Infinity;
    else if (restart || this.#rtoAtUs === Infinity) {
      this.#rtoAtUs = nowUs + Math.min(this.#rtoUs * 2 ** this.#retries, RTO_MAX_US);
    }
  }

  /** The retransmission or probe timer, when due. */
  onTimer(nowUs: number): void {
    if (nowUs >= this.#lateAtUs) this.#findLost(false, nowUs);
    if (nowUs < this.#rtoAtUs) return;
    this.#rtoAtUs = Infinity;
    const isShut = this.edge <= this.una;
    if (++this.#retries > RETRIES_MAX && !isShut) {
      this.gaveUp = true;
      return;
    }
    this.#retries = Math.min(this.#retries, RETRIES_MAX);
    if (isShut) this.#probeDue = true;
    else if (this.una < this.max) this.#onTimeout();
    this.#arm(nowUs, true);
  }

  #onTimeout(): void {
    const wasRecovering = this.#recover >= 0 && !this.#isAfterTimeout;
    if (this.#retries === 1 && !wasRecovering) this.#reduce();
    this.cwnd = this.mss;
    this.#recover = this.max;
    this.#isAfterTimeout = true;
    this.#duplicates = 0;
    this.#lateAtUs = Infinity;
    if (!this.hasSack) this.#heldBytes = 0;
    for (const piece of this.#flying.slice(this.#first)) {
      // The far end may have dropped what it reported (reneging); after a timeout, trust nothing.
      if (piece.isHeld && this.#retries > 1) {
        piece.isHeld = false;
        this.#heldBytes -= piece.end - piece.off;
      }
      if (!piece.isHeld && !piece.isLost) this.#markLost(piece);
    }
  }
}
