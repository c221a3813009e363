// A block of device memory that tensors and their views share.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "flr/core/runtime.hpp"

namespace flr {

class Storage {
 public:
  /// Uninitialised memory from the device's pool.
  Storage(index_t bytes, Device device)
      : bytes_(bytes), device_(device), use_(detail::current_memory_use()), pool_(&pool(device)) {
    data_ = pool_->take(bytes, use_);
  }
  ~Storage() { release(); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  index_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  /// Counts changes in place; a tensor saved for backward remembers the count it was saved at.
  std::uint32_t version() const { return owner_ ? owner_->version() : version_; }
  void bump_version() { owner_ ? owner_->bump_version() : void(++version_); }

  /// Moves the contents into `arena`, on whatever device, at a byte offset and lives there from now
  /// on. Every handle and view of this storage follows.
  void move_into(std::shared_ptr<Storage> arena, index_t byte_offset) {
    check(byte_offset + bytes_ <= arena->bytes_,
          "[storage] an arena of {} bytes cannot hold {} bytes at {}", arena->bytes_, bytes_,
          byte_offset);
    void* target = static_cast<char*>(arena->data_) + byte_offset;
    copy_bytes(target, arena->device_, data_, device_, bytes_);
    release();
    data_ = target;
    device_ = arena->device_;
    owner_ = std::move(arena);
  }

  static void copy_bytes(void* dst, Device to, const void* src, Device from, index_t bytes) {
    if (bytes == 0) return;
    if (to.is_cpu() && from.is_cpu()) std::memcpy(dst, src, static_cast<std::size_t>(bytes));
    else detail::require_cuda().copy(dst, to, src, from, bytes);
  }

 private:
  void release() {
    if (!owner_ && data_) pool_->give(data_, bytes_, use_);
    owner_.reset();
    data_ = nullptr;
  }

  void* data_ = nullptr;
  index_t bytes_;
  Device device_;
  MemoryUse use_;
  Pool* pool_;  ///< where the memory came from and goes back to
  std::uint32_t version_ = 0;
  std::shared_ptr<Storage> owner_;
};

}  // namespace flr
