// One small vector type per instruction set: what the kernel needs of it and no more.
//
// A vector holds `lanes` numbers. `positive` is true where a number is above zero or NaN, so that a NaN is never mistaken
// for an inactive neuron. `Stored` is a mask as it lies in memory. Additions and multiply-adds run on different units:
// `fused_add_where` adds on those of the other kind. `row_sums` adds up each of `lanes` rows of `lanes` numbers: halve
// what is left of each row and pair the rows, until one number of each is left. Where `scales` holds there are also
// `all_at_least` (of magnitudes) and `with_sign_of` (x, its sign flipped where y is negative).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(STEPPE_AVX512) || defined(STEPPE_AVX2)
#include <immintrin.h>
#endif

namespace STEPPE_ISA {

template <class T> struct Vector;

#if defined(STEPPE_AVX512)

template <> struct Vector<float> {
    using Register = __m512;
    using Mask = __mmask16;
    using Stored = __mmask16;
    static constexpr int lanes = 16;
    static Register zero() { return _mm512_setzero_ps(); }
    static Register all(float x) { return _mm512_set1_ps(x); }
    static Register load(const float* p) { return _mm512_load_ps(p); }
    static void store(float* p, Register x) { _mm512_store_ps(p, x); }
    static Register add(Register x, Register y) { return _mm512_add_ps(x, y); }
    static Register subtract(Register x, Register y) { return _mm512_sub_ps(x, y); }
    static Register multiply(Register x, Register y) { return _mm512_mul_ps(x, y); }
    static Register multiply_add(Register x, Register y, Register z) { return _mm512_fmadd_ps(x, y, z); }
    static Mask positive(Register x) { return _mm512_cmp_ps_mask(x, zero(), _CMP_NLE_UQ); }
    static Register add_where(Mask k, Register x, Register y) { return _mm512_mask_add_ps(x, k, x, y); }
    static Register fused_add_where(Mask k, Register x, Register y) { return _mm512_mask3_fmadd_ps(y, all(1), x, k); }
    static Register multiply_add_where(Mask k, Register x, Register y, Register z) {
        return _mm512_mask3_fmadd_ps(x, y, z, k);
    }
    static constexpr bool scales = true;
    static bool all_at_least(Register x, Register y) {
        return _mm512_cmp_ps_mask(_mm512_abs_ps(x), y, _CMP_GE_OQ) == 0xFFFF;
    }
    static Register with_sign_of(Register x, Register y) { return _mm512_xor_ps(x, _mm512_and_ps(y, all(-0.0f))); }
    static void keep(Stored* p, Mask k) { _store_mask16(p, k); }
    static Mask kept(const Stored* p) {
        Mask k;
        __asm__("kmovw %1, %0" : "=k"(k) : "m"(*p));  // compilers go through a general register, at twice the time
        return k;
    }
    static float sum(Register x) { return _mm512_reduce_add_ps(x); }
    static Register row_sums(const float* rows) {
        Register r[16];
        for (int i : {0, 1, 2, 3, 8, 9, 10, 11}) {
            const Register x = load(rows + 16 * i), y = load(rows + 16 * (i + 4));
            r[i] = add(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
        }
        for (int i : {0, 1, 2, 3})
            r[i] = add(_mm512_shuffle_f32x4(r[i], r[i + 8], 0x88), _mm512_shuffle_f32x4(r[i], r[i + 8], 0xDD));
        for (int i : {0, 1}) r[i] = add(_mm512_unpacklo_ps(r[i], r[i + 2]), _mm512_unpackhi_ps(r[i], r[i + 2]));
        return add(_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpackhi_ps(r[0], r[1]));
    }
};

template <> struct Vector<double> {
    using Register = __m512d;
    using Mask = __mmask8;
    using Stored = __mmask8;
    static constexpr int lanes = 8;
    static Register zero() { return _mm512_setzero_pd(); }
    static Register all(double x) { return _mm512_set1_pd(x); }
    static Register load(const double* p) { return _mm512_load_pd(p); }
    static void store(double* p, Register x) { _mm512_store_pd(p, x); }
    static Register add(Register x, Register y) { return _mm512_add_pd(x, y); }
    static Register subtract(Register x, Register y) { return _mm512_sub_pd(x, y); }
    static Register multiply(Register x, Register y) { return _mm512_mul_pd(x, y); }
    static Register multiply_add(Register x, Register y, Register z) { return _mm512_fmadd_pd(x, y, z); }
    static Mask positive(Register x) { return _mm512_cmp_pd_mask(x, zero(), _CMP_NLE_UQ); }
    static Register add_where(Mask k, Register x, Register y) { return _mm512_mask_add_pd(x, k, x, y); }
    static Register fused_add_where(Mask k, Register x, Register y) { return _mm512_mask3_fmadd_pd(y, all(1), x, k); }
    static Register multiply_add_where(Mask k, Register x, Register y, Register z) {
        return _mm512_mask3_fmadd_pd(x, y, z, k);
    }
    static constexpr bool scales = true;
    static bool all_at_least(Register x, Register y) {
        return _mm512_cmp_pd_mask(_mm512_abs_pd(x), y, _CMP_GE_OQ) == 0xFF;
    }
    static Register with_sign_of(Register x, Register y) { return _mm512_xor_pd(x, _mm512_and_pd(y, all(-0.0))); }
    static void keep(Stored* p, Mask k) { _store_mask8(p, k); }
    static Mask kept(const Stored* p) {
        Mask k;
        __asm__("kmovb %1, %0" : "=k"(k) : "m"(*p));  // as above
        return k;
    }
    static double sum(Register x) { return _mm512_reduce_add_pd(x); }
    static Register row_sums(const double* rows) {
        Register r[8];
        for (int i : {0, 1, 4, 5}) {
            const Register x = load(rows + 8 * i), y = load(rows + 8 * (i + 2));
            r[i] = add(_mm512_shuffle_f64x2(x, y, 0x44), _mm512_shuffle_f64x2(x, y, 0xEE));
        }
        for (int i : {0, 1})
            r[i] = add(_mm512_shuffle_f64x2(r[i], r[i + 4], 0x88), _mm512_shuffle_f64x2(r[i], r[i + 4], 0xDD));
        return add(_mm512_unpacklo_pd(r[0], r[1]), _mm512_unpackhi_pd(r[0], r[1]));
    }
};

#elif defined(STEPPE_AVX2)

template <> struct Vector<float> {
    using Register = __m256;
    using Mask = __m256;
    using Stored = std::uint8_t;
    static constexpr int lanes = 8;
    static Register zero() { return _mm256_setzero_ps(); }
    static Register all(float x) { return _mm256_set1_ps(x); }
    static Register load(const float* p) { return _mm256_load_ps(p); }
    static void store(float* p, Register x) { _mm256_store_ps(p, x); }
    static Register add(Register x, Register y) { return _mm256_add_ps(x, y); }
    static Register subtract(Register x, Register y) { return _mm256_sub_ps(x, y); }
    static Register multiply(Register x, Register y) { return _mm256_mul_ps(x, y); }
    static Register multiply_add(Register x, Register y, Register z) { return _mm256_fmadd_ps(x, y, z); }
    static Mask positive(Register x) { return _mm256_cmp_ps(x, zero(), _CMP_NLE_UQ); }
    static Register add_where(Mask k, Register x, Register y) { return _mm256_add_ps(x, _mm256_and_ps(k, y)); }
    static Register fused_add_where(Mask k, Register x, Register y) {
        return _mm256_fmadd_ps(_mm256_and_ps(k, y), all(1), x);
    }
    static Register multiply_add_where(Mask k, Register x, Register y, Register z) {
        return _mm256_fmadd_ps(_mm256_and_ps(k, x), y, z);
    }
    static constexpr bool scales = false;
    static void keep(Stored* p, Mask k) { *p = static_cast<Stored>(_mm256_movemask_ps(k)); }
    static Mask kept(const Stored* p) {
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(*p), bit), bit));
    }
    static float sum(Register x) {
        __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        y = _mm_add_ps(y, _mm_movehl_ps(y, y));
        return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
    }
    static Register row_sums(const float* rows) {
        Register r[8];
        for (int i = 0; i < 8; ++i) r[i] = load(rows + 8 * i);
        const Register x = _mm256_hadd_ps(_mm256_hadd_ps(r[0], r[1]), _mm256_hadd_ps(r[2], r[3]));
        const Register y = _mm256_hadd_ps(_mm256_hadd_ps(r[4], r[5]), _mm256_hadd_ps(r[6], r[7]));
        return add(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
};

template <> struct Vector<double> {
    using Register = __m256d;
    using Mask = __m256d;
    using Stored = std::uint8_t;
    static constexpr int lanes = 4;
    static Register zero() { return _mm256_setzero_pd(); }
    static Register all(double x) { return _mm256_set1_pd(x); }
    static Register load(const double* p) { return _mm256_load_pd(p); }
    static void store(double* p, Register x) { _mm256_store_pd(p, x); }
    static Register add(Register x, Register y) { return _mm256_add_pd(x, y); }
    static Register subtract(Register x, Register y) { return _mm256_sub_pd(x, y); }
    static Register multiply(Register x, Register y) { return _mm256_mul_pd(x, y); }
    static Register multiply_add(Register x, Register y, Register z) { return _mm256_fmadd_pd(x, y, z); }
    static Mask positive(Register x) { return _mm256_cmp_pd(x, zero(), _CMP_NLE_UQ); }
    static Register add_where(Mask k, Register x, Register y) { return _mm256_add_pd(x, _mm256_and_pd(k, y)); }
    static Register fused_add_where(Mask k, Register x, Register y) {
        return _mm256_fmadd_pd(_mm256_and_pd(k, y), all(1), x);
    }
    static Register multiply_add_where(Mask k, Register x, Register y, Register z) {
        return _mm256_fmadd_pd(_mm256_and_pd(k, x), y, z);
    }
    static constexpr bool scales = false;
    static void keep(Stored* p, Mask k) { *p = static_cast<Stored>(_mm256_movemask_pd(k)); }
    static Mask kept(const Stored* p) {
        const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
        return _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(*p), bit), bit));
    }
    static double sum(Register x) {
        const __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
        return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
    }
    static Register row_sums(const double* rows) {
        const Register x = _mm256_hadd_pd(load(rows), load(rows + 4));
        const Register y = _mm256_hadd_pd(load(rows + 8), load(rows + 12));
        return add(_mm256_permute2f128_pd(x, y, 0x20), _mm256_permute2f128_pd(x, y, 0x31));
    }
};

#else

// Sixteen bytes of the compiler's own vectors: SSE2, NEON or whatever the machine has.
template <class T, class Integer> struct Portable {
    static constexpr int lanes = 16 / sizeof(T);
    typedef T Register __attribute__((vector_size(16)));
    typedef Integer Mask __attribute__((vector_size(16)));
    using Stored = Mask;
    static Register zero() { return Register{}; }
    static Register all(T x) { return x - Register{}; }
    static Register load(const T* p) { return *reinterpret_cast<const Register*>(p); }
    static void store(T* p, Register x) { *reinterpret_cast<Register*>(p) = x; }
    static Register add(Register x, Register y) { return x + y; }
    static Register subtract(Register x, Register y) { return x - y; }
    static Register multiply(Register x, Register y) { return x * y; }
    static Register multiply_add(Register x, Register y, Register z) { return x * y + z; }
    static Mask positive(Register x) { return ~(x <= zero()); }
    static Register where(Mask k, Register x) { return reinterpret_cast<Register>(k & reinterpret_cast<Mask>(x)); }
    static Register add_where(Mask k, Register x, Register y) { return x + where(k, y); }
    static Register fused_add_where(Mask k, Register x, Register y) { return x + where(k, y); }
    static Register multiply_add_where(Mask k, Register x, Register y, Register z) { return where(k, x) * y + z; }
    static constexpr bool scales = false;
    static void keep(Stored* p, Mask k) { *p = k; }
    static Mask kept(const Stored* p) { return *p; }
    static T sum(Register x) {
        T total = 0;
        for (int i = 0; i < lanes; ++i) total += x[i];
        return total;
    }
    static Register row_sums(const T* rows) {
        Register r{};
        for (int i = 0; i < lanes; ++i) r[i] = sum(load(rows + lanes * i));
        return r;
    }
};
template <> struct Vector<float> : Portable<float, std::int32_t> {};
template <> struct Vector<double> : Portable<double, std::int64_t> {};

#endif

}  // namespace STEPPE_ISA
