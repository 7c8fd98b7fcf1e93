#pragma once

namespace bm3 {

/// Starts the program again, once, with settings that count only before a library is loaded:
/// OPENBLAS_CORETYPE=SkylakeX where the processor has AVX-512 but OpenBLAS took it for an older
/// one, and GOMP_SPINCOUNT=1000, so that OpenMP's threads soon sleep when they wait: on a processor
/// that others use too, threads that spin for longer keep those from running that have work. To be
/// called first in `main`. A variable that is set stays as it is.
void set_up_libraries(char** argv);

}  // namespace bm3
