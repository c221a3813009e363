// Formulas over broadcast tensors: cuts the output into blocks, brings every input's block into
// contiguous memory of the compute type, and lets the formula's table evaluate it.
#pragma once

#include "flr/core/map_params.hpp"
#include "flr/cpu/block_math.hpp"
#include "flr/cpu/copy.hpp"

FLR_CPU_BEGIN

/// Blocks that one chunk of work takes.
inline constexpr index_t map_chunk_blocks = 16;

/// How a block of an input is brought in.
enum class MapInput : unsigned char {
  direct,    ///< contiguous and of the compute type: used where it lies
  constant,  ///< one value: written once a chunk
  periodic,  ///< repeats after at most a block: the pattern is written once a chunk
  gathered,  ///< everything else: block by block
};

template <class T>
struct MapSource {
  MapInput kind = MapInput::gathered;
  index_t period = 0;
  const T* x = nullptr;
  Layout<1> layout;

  MapSource() = default;
  MapSource(const T* data, const Shape& shape, const Shape& strides) : x(data) {
    for (int a = 0; a < shape.rank(); ++a) layout.append(shape[a], {strides[a]});
    const bool dense = layout.rank == 0 || (layout.rank == 1 && layout.stride[0][0] == 1);
    if (layout.rank == 0) layout.rank = 1, layout.extent[0] = layout.stride[0][0] = 1;
    if (dense && std::same_as<T, compute_t<T>>)
      kind = MapInput::direct;
    else if (layout.rank == 1 && layout.stride[0][0] == 0)
      kind = MapInput::constant;
    else if (layout.rank > 1 && layout.stride[0][0] == 0) {
      period = layout.numel() / layout.extent[0];
      if (period <= map_block) kind = MapInput::periodic;
    }
  }

  /// Whether blocks of it would be read across rows of memory, one element of a line at a time.
  bool scattered() const {
    const int last = layout.rank - 1;
    bool rows = false;
    for (int a = 0; a < last; ++a) rows |= layout.stride[0][a] == 1;
    return kind == MapInput::gathered && layout.stride[0][last] > 1 && rows;
  }

  /// Values that it keeps in scratch memory.
  index_t scratch() const {
    return kind == MapInput::direct ? 0 : kind == MapInput::periodic ? 2 * map_block : map_block;
  }

  /// Elements [begin, begin + n) in row-major order, in `y` or, if `in_place`, where they are.
  const compute_t<T>* gather(index_t begin, index_t n, compute_t<T>* y, bool in_place) const {
    const int last = layout.rank - 1;
    const index_t row = layout.extent[last], stride = layout.stride[0][last];
    const Layout<1> outer = layout.without(last);
    Position<1> at(outer, begin / row);
    index_t column = begin % row;
    if constexpr (std::same_as<T, compute_t<T>>)
      if (in_place && stride == 1 && column + n <= row) return x + at.offset[0] + column;
    for (index_t done = 0; done < n; column = 0, at.next()) {
      const index_t run = smaller(row - column, n - done);
      const T* src = x + at.offset[0] + column * stride;
      compute_t<T>* dst = y + done;
      if (stride == 1)
        convert_run(src, dst, run);
      else if (stride == 0)
        fill_run(dst, static_cast<compute_t<T>>(*src), run);
      else
        for (index_t i = 0; i < run; ++i) dst[i] = static_cast<compute_t<T>>(src[i * stride]);
      done += run;
    }
    return y;
  }

  /// What only has to be done once for a whole chunk.
  void prepare(compute_t<T>* y) const {
    if (kind == MapInput::constant) fill_run(y, static_cast<compute_t<T>>(*x), map_block);
    if (kind != MapInput::periodic) return;
    gather(0, period, y, false);
    for (index_t i = period; i < 2 * map_block; ++i) y[i] = y[i - period];
  }

  const compute_t<T>* block(index_t begin, index_t n, compute_t<T>* y) const {
    switch (kind) {
      case MapInput::direct: return reinterpret_cast<const compute_t<T>*>(x) + begin;
      case MapInput::constant: return y;
      case MapInput::periodic: return y + begin % period;
      case MapInput::gathered: return gather(begin, n, y, true);
    }
    return y;
  }
};

/// Evaluates a formula over p.shape. Outputs must not overlap inputs.
template <class T>
void map(const MapParams& p) {
  using C = compute_t<T>;
  const index_t n = p.shape.numel();
  if (n == 0) return;
  MapSource<T> source[max_map_inputs];
  index_t scratch_size = p.table->scratch_blocks * map_block, transposed = 0;
  for (int i = 0; i < p.n_in; ++i) {
    source[i] = MapSource<T>(static_cast<const T*>(p.in[i]), p.shape, p.in_strides[i]);
    transposed += source[i].scattered();
  }
  // A transposed input is put in order first: copy() does that in tiles.
  const flr::detail::Scratch<T> ordered(n > map_block ? transposed * n : 0);
  for (int i = 0; i < p.n_in; ++i) {
    if (source[i].scattered() && ordered.data()) {
      T* values = ordered.data() + --transposed * n;
      const Shape strides = contiguous_strides(p.shape);
      copy(CopyParams<T>{p.shape, p.in_strides[i], strides, source[i].x, values});
      source[i] = MapSource<T>(values, p.shape, strides);
    }
    scratch_size += source[i].scratch();
  }
  bool staged[max_map_outputs] = {};  // computed in scratch memory first
  for (int o = 0; o < p.n_out; ++o) {
    staged[o] = p.out[o] && (p.accumulate[o] || !std::same_as<T, C>);
    if (staged[o]) scratch_size += map_block;
  }

  parallel_ranges(n, map_chunk_blocks * map_block, [&](index_t chunk_begin, index_t chunk_end) {
    const flr::detail::Scratch<C> memory(scratch_size);
    C* formula_scratch = memory.data();
    C* free = formula_scratch + p.table->scratch_blocks * map_block;
    C *in_scratch[max_map_inputs], *out_scratch[max_map_outputs];
    for (int i = 0; i < p.n_in; ++i) {
      in_scratch[i] = free;
      free += source[i].scratch();
      source[i].prepare(in_scratch[i]);
    }
    for (int o = 0; o < p.n_out; ++o) {
      out_scratch[o] = free;
      if (staged[o]) free += map_block;
    }
    for (index_t begin = chunk_begin; begin < chunk_end; begin += map_block) {
      const index_t count = smaller(map_block, chunk_end - begin);
      const void* in[max_map_inputs] = {};
      void* out[max_map_outputs] = {};
      for (int i = 0; i < p.n_in; ++i) in[i] = source[i].block(begin, count, in_scratch[i]);
      for (int o = 0; o < p.n_out; ++o)
        if (p.out[o])
          out[o] = staged[o] ? static_cast<void*>(out_scratch[o])
                             : static_cast<void*>(static_cast<T*>(p.out[o]) + begin);
      p.table->block(p.formula, in, out, count, &block_math<C>, formula_scratch);
      for (int o = 0; o < p.n_out; ++o)
        if (staged[o])
          store_run(out_scratch[o], static_cast<T*>(p.out[o]) + begin, count, p.accumulate[o]);
    }
  });
}

FLR_CPU_END
