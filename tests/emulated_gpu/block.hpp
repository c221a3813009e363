// A block of GPU threads on one CPU thread, so that small kernels run where there is no GPU.
//
// Every GPU thread is a fiber; they take turns, and give up their turn where threads wait for each
// other: at a barrier and at instructions of a whole warp. What such an instruction does is
// computed from what all 32 lanes brought. A thread that waits in vain, or lanes that wait in
// different instructions, end the program: on a GPU that would hang, or be undefined.
//
// Only what the kernels under test use is here. Shared memory is a static variable, or one buffer
// where its size is given at the launch: blocks run one by one.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define FLR_EMULATED_SWAPS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FLR_EMULATED_SWAPS
#endif
#endif

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __host__
#define __device__
#define __noinline__
#define __grid_constant__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, gridDim;
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace emulated {

[[noreturn]] inline void give_up(const char* why) {
  std::fprintf(stderr, "emulated GPU: %s\n", why);
  std::abort();
}

/// What a lane brings to an instruction of its warp.
using Operands = std::array<std::uint32_t, 8>;
enum class Instruction { none, shuffle, mma, matrices, vote, sync };

/// Shared memory whose size is given at the launch; an address in it is an offset, as on a GPU.
inline std::vector<unsigned char>& dynamic_shared_memory() {
  static std::vector<unsigned char> memory;
  return memory;
}
inline unsigned char* dynamic_shared() {
  return dynamic_shared_memory().data();
}

/// How threads follow each other: warps step by step, or one goes on until it has to wait for others, or
/// a lane of all warps before the next lane, or one warp goes some way, then another, which is drawn.
enum class Order { together, first_first, last_first, lanes, drawn };
constexpr unsigned orders = 5;

class Block {
 public:
  /// Copies arrive, and products of warpgroups are computed, as soon as they begin (`eager_…`) or when they
  /// are waited for.
  Block(unsigned threads, const std::function<void()>& body, Order order, bool eager_copies, bool eager_products)
      : body_(body), fibers_(threads), warps_((threads + 31) / 32), order_(order), eager_copies_(eager_copies),
        eager_products_(eager_products) {
    if (threads % 32) give_up("a block is whole warps here");
  }

  void run() {
    current() = this;
    for (Fiber& f : fibers_) {
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.get(), f.context.uc_stack.ss_size = stack_bytes;
      makecontext(
          &f.context, [] { current()->thread_main(); }, 0);
    }
    for (left_ = fibers_.size(); left_ > 0;) {
      const std::size_t before = steps_;
      if (order_ == Order::lanes) {
        for (std::size_t i = 0; i < fibers_.size(); ++i) run_thread(i % warps_.size() * 32 + i / warps_.size());
      } else if (order_ == Order::drawn && run_drawn()) {
      } else {
        for (std::size_t w = 0; w < warps_.size(); ++w)
          run_warp(order_ == Order::last_first ? warps_.size() - 1 - w : w);
      }
      if (steps_ == before) give_up("threads wait for others that are gone");
    }
  }

  void barrier() {
    const std::size_t turn = ++fibers_[at_].barriers;
    ++arrived_, ++steps_;
    while (arrived_ < turn * fibers_.size()) yield();
  }

  /// A barrier that says how many threads brought `true`.
  int count(bool x) {
    const std::size_t turn = fibers_[at_].votes++;
    votes_[turn % 3] += x;
    barrier();
    votes_[(turn + 2) % 3] = 0;  // nobody reads the last one any more, nobody is at the next but one
    return votes_[turn % 3];
  }

  /// A thread's copies to shared memory, which arrive at any time until it has waited for them.
  void copy(unsigned to, const void* from, std::size_t bytes) {
    if (eager_copies_) {
      if (from) std::memcpy(dynamic_shared() + to, from, bytes);
      else std::memset(dynamic_shared() + to, 0, bytes);
      return;
    }
    Copy& copy = fibers_[at_].copies.emplace_back();
    copy.to = to, copy.bytes = bytes, copy.group = fibers_[at_].groups;
    if (from) std::memcpy(copy.values.data(), from, bytes);
  }
  void end_of_copies() { ++fibers_[at_].groups; }
  /// All groups arrive but the last `left`; with `open`, so do copies of no group yet.
  void finish_copies(std::size_t left, bool open) {
    Fiber& f = fibers_[at_];
    std::erase_if(f.copies, [&](const Copy& copy) {
      if (!open && copy.group + left >= f.groups) return false;
      std::memcpy(dynamic_shared() + copy.to, copy.values.data(), copy.bytes);
      return true;
    });
  }

  /// A thread's products of its warpgroup, which are computed at any time until it has waited for them.
  void product(const std::function<void()>& compute) {
    Fiber& f = fibers_[at_];
    if (eager_products_) compute();
    else f.products.emplace_back(f.product_groups, compute);
  }
  void end_of_products() { ++fibers_[at_].product_groups; }
  /// All groups are over but the last `left`.
  void finish_products(std::size_t left) {
    Fiber& f = fibers_[at_];
    while (!f.products.empty() && f.products.front().first + left < f.product_groups) {
      f.products.front().second();
      f.products.erase(f.products.begin());
    }
  }

  /// For a thread that waits for something in memory, and for one that has changed what others
  /// wait for.
  void pause() { yield(); }
  void go_on() { ++steps_; }

  /// What all 32 lanes of the warp bring to the instruction, until the lane's next one.
  const std::array<Operands, 32>& exchange(Instruction what, const Operands& mine) {
    Warp& warp = warps_[at_ / 32];
    const std::size_t turn = fibers_[at_].exchanges++, place = turn % 2;
    if (warp.arrived == turn * 32) warp.what[place] = what;
    if (warp.what[place] != what) give_up("lanes of a warp wait in different instructions");
    warp.brought[place][at_ % 32] = mine;
    ++warp.arrived, ++steps_;
    while (warp.arrived < (turn + 1) * 32) yield();
    return warp.brought[place];
  }

  static Block*& current() {
    static Block* block = nullptr;
    return block;
  }

 private:
  static constexpr std::size_t stack_bytes = 64 * 1024;
  struct Copy {
    unsigned to;
    std::size_t bytes, group;
    std::array<unsigned char, 16> values{};
  };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};  // left as it is: zeros would cost time
    std::vector<Copy> copies;
    std::vector<std::pair<std::size_t, std::function<void()>>> products;
    std::size_t barriers = 0, exchanges = 0, votes = 0, groups = 0, product_groups = 0;
    jmp_buf place;
    bool started = false, done = false;
  };
  struct Warp {  // two places: a lane may be one instruction ahead of one that still reads
    std::array<Operands, 32> brought[2];
    Instruction what[2] = {};
    std::size_t arrived = 0;
  };

  void run_thread(std::size_t thread) {
    if (fibers_[thread].done) return;
    at_ = thread;
    threadIdx = dim3(unsigned(thread));
    enter(fibers_[thread]);
    left_ -= fibers_[thread].done;
  }
  void run_warp(std::size_t warp) {
    for (std::size_t before = steps_ + 1; before != steps_;) {
      before = steps_;
      for (std::size_t lane = 0; lane < 32; ++lane) run_thread(32 * warp + lane);
      if (order_ == Order::together || order_ == Order::drawn) return;
    }
  }
  /// Whether anything happened.
  bool run_drawn() {
    const std::size_t before = steps_;
    for (std::size_t i = 0; i < warps_.size(); ++i) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      const std::size_t warp = (random_ >> 33) % warps_.size(), turns = random_ >> 58;
      for (std::size_t turn = 0; turn < turns; ++turn) run_warp(warp);
    }
    return steps_ != before;
  }
  void thread_main() {
    body_();
    fibers_[at_].done = true;
    ++steps_;
    leave(fibers_[at_]);
  }
  void yield() { leave(fibers_[at_]); }

  // Jumps between stacks, where swapcontext() would ask the kernel for the signal mask each time; the
  // sanitizers know swapcontext() only.
#ifdef FLR_EMULATED_SWAPS
  void enter(Fiber& f) { swapcontext(&scheduler_, &f.context); }
  void leave(Fiber& f) { swapcontext(&f.context, &scheduler_); }
  ucontext_t scheduler_;
#else
  __attribute__((noinline)) void enter(Fiber& f) {
    if (_setjmp(scheduler_)) return;
    if (std::exchange(f.started, true)) _longjmp(f.place, 1);
    setcontext(&f.context);
  }
  __attribute__((noinline)) void leave(Fiber& f) {
    if (!_setjmp(f.place)) _longjmp(scheduler_, 1);
  }
  jmp_buf scheduler_;
#endif

  const std::function<void()>& body_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Order order_;
  bool eager_copies_, eager_products_;
  std::size_t at_ = 0, arrived_ = 0, steps_ = 0, left_ = 0;
  std::uint64_t random_ = 1;
  int votes_[3] = {};
};

/// Bytes behind the shared memory that a launch asks for, which nobody may write.
constexpr std::size_t beyond = 1 << 15;

/// kernel<<<grid, threads, shared, stream>>>(arguments) as translate.sh writes it. Blocks take turns in
/// how their threads follow each other and copies arrive: what they find must not depend on it.
inline void launch(const std::function<void()>& kernel, dim3 grid, unsigned threads, int shared, int) {
  gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        std::vector<unsigned char>& memory = dynamic_shared_memory();
        memory.assign(std::size_t(shared) + beyond, 0xff);  // not numbers, until written
        static unsigned blocks = 0;
        const unsigned turn = blocks++ / orders;
        Block(threads, kernel, Order(blocks % orders), turn % 2 != 0, turn / 2 % 2 != 0).run();
        for (std::size_t i = std::size_t(shared); i < memory.size(); ++i)
          if (memory[i] != 0xff) give_up("a kernel wrote beyond its shared memory");
      }
}

}  // namespace emulated

inline void __syncthreads() {
  emulated::Block::current()->barrier();
}

inline int __syncthreads_count(bool x) {
  return emulated::Block::current()->count(x);
}
inline int __syncthreads_or(bool x) {
  return __syncthreads_count(x) != 0;
}

namespace emulated {

/// What a lane has in x, for values of 4 or 8 bytes.
template <class X>
X from_lane(X x, unsigned lane) {
  static_assert(sizeof(X) == 4 || sizeof(X) == 8);
  Operands mine{};
  std::memcpy(mine.data(), &x, sizeof(X));
  const auto& all = Block::current()->exchange(Instruction::shuffle, mine);
  std::memcpy(&x, all[lane % 32].data(), sizeof(X));
  return x;
}

}  // namespace emulated

template <class X>
X __shfl_xor_sync(unsigned, X x, int mask) {
  return emulated::from_lane(x, threadIdx.x % 32 ^ unsigned(mask));
}
template <class X>
X __shfl_sync(unsigned, X x, int lane) {
  return emulated::from_lane(x, unsigned(lane));
}
inline void __syncwarp() {
  emulated::Block::current()->exchange(emulated::Instruction::sync, {});
}

inline bool __all_sync(unsigned, bool x);
inline bool __any_sync(unsigned lanes, bool x) {
  return !__all_sync(lanes, !x);
}
inline bool __all_sync(unsigned, bool x) {
  const auto& all = emulated::Block::current()->exchange(emulated::Instruction::vote,
                                                        emulated::Operands{x ? 1u : 0u});
  for (const auto& lane : all)
    if (!lane[0]) return false;
  return true;
}
inline unsigned __ballot_sync(unsigned, bool x) {
  const auto& all = emulated::Block::current()->exchange(emulated::Instruction::vote,
                                                        emulated::Operands{x ? 1u : 0u});
  unsigned bits = 0;
  for (unsigned lane = 0; lane < 32; ++lane) bits |= all[lane][0] << lane;
  return bits;
}
