// A list of free nodes without a lock, as an allocator keeps it. next[i] is the node behind node i, or
// -1. The low 32 bits of *head are the first free node, 0xffffffff if there is none. The high 32 bits
// are yours; they are 0 at first.
//
// To take a node, a thread reads the head and the node behind it, and then swaps the head for that
// node, if the head is still what it was (atomicCAS); otherwise it begins again. Many things can happen
// between the two halves. Here they happen as `turns` says, so that every run is the same: in turn k
// only thread turns[2 k] acts, and does turns[2 k + 1]:
//   BEGIN   the first half of taking a node,
//   FINISH  the second half; where the head was another by then, both halves until it succeeds,
//   GIVE    gives back the node that it has held longest, if it holds any.
// held: [threads, MOST], the nodes that each thread holds in the end, in the order of taking; -1 beyond
// them. (One block; a thread holds at most MOST nodes and finishes only what it has begun.)
//
// Something is wrong with this kernel: in the end two threads may hold the same node. It needs no
// race and no crash for that. How can the head be what it was, and the list behind it not?

#define MOST 8
#define NONE 0xffffffffu
#define BEGIN 0
#define FINISH 1
#define GIVE 2
typedef unsigned long long Head;

__global__ void free_list(Head *head, int *next, const int *turns, int count, int *held) {
  int mine[MOST], holds = 0;
  Head seen = 0;  // by the first half
  int behind = 0;
  for (int turn = 0; turn < count; turn++) {
    __syncthreads();
    if (turns[2 * turn] != threadIdx.x) continue;
    int action = turns[2 * turn + 1];
    // BEGIN START
    if (action == BEGIN) {
      seen = atomicAdd(head, (Head)0);
      if ((unsigned)seen != NONE) behind = next[(unsigned)seen];
    }
    if (action == FINISH) {
      while ((unsigned)seen != NONE) {
        Head found = atomicCAS(head, seen, (Head)(unsigned)behind);
        if (found == seen) {
          mine[holds++] = (unsigned)seen;
          break;
        }
        seen = found;
        if ((unsigned)seen != NONE) behind = next[(unsigned)seen];
      }
    }
    if (action == GIVE && holds > 0) {
      unsigned node = mine[0];
      for (int i = 1; i < holds; i++) mine[i - 1] = mine[i];
      holds--;
      Head now = atomicAdd(head, (Head)0), expected;
      do {
        expected = now;
        next[node] = (unsigned)now;
        now = atomicCAS(head, expected, (Head)node);
      } while (now != expected);
    }
    // END START
    // BEGIN SOLUTION
    // The high half counts the swaps: a head that comes back is another number.
    const Head one = (Head)1 << 32, high = ~(Head)NONE;
    if (action == BEGIN) {
      seen = atomicAdd(head, (Head)0);
      if ((unsigned)seen != NONE) behind = next[(unsigned)seen];
    }
    if (action == FINISH) {
      while ((unsigned)seen != NONE) {
        Head found = atomicCAS(head, seen, ((seen + one) & high) | (unsigned)behind);
        if (found == seen) {
          mine[holds++] = (unsigned)seen;
          break;
        }
        seen = found;
        if ((unsigned)seen != NONE) behind = next[(unsigned)seen];
      }
    }
    if (action == GIVE && holds > 0) {
      unsigned node = mine[0];
      for (int i = 1; i < holds; i++) mine[i - 1] = mine[i];
      holds--;
      Head now = atomicAdd(head, (Head)0), expected;
      do {
        expected = now;
        next[node] = (unsigned)now;
        now = atomicCAS(head, expected, ((expected + one) & high) | node);
      } while (now != expected);
    }
    // END SOLUTION
  }
  for (int i = 0; i < MOST; i++) held[threadIdx.x * MOST + i] = i < holds ? mine[i] : -1;
}
