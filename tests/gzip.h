#pragma once
// Text as gzip compresses it.
#include <zlib.h>

#include "scratch.h"

namespace bm3::test {

inline std::string gzip(const std::string& text) {
  const ScratchFolder folder;
  const std::string path = folder / "x.gz";
  const gzFile file = gzopen(path.c_str(), "wb");
  EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  EXPECT_EQ(gzclose(file), Z_OK);
  return read_file(path);
}

}  // namespace bm3::test
