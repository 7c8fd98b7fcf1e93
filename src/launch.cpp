// `bm3` itself: sets what OpenMP reads while it is loaded, and then loads the program.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

int main(int argc, char** argv) {
  // Threads that wait soon sleep: on a processor that others use, too, they would spin in the way
  // of those that have work.
  if (!std::getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", "1000", 0);
  std::error_code ignored;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  void* const program = dlopen((here / "libbm3_program.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const symbol = program ? dlsym(program, "bm3_main") : nullptr;
  if (!symbol) {
    std::fprintf(stderr, "bm3: cannot load the program: %s\n", dlerror());
    return 1;
  }
  return reinterpret_cast<int (*)(int, char**)>(symbol)(argc, argv);
}
