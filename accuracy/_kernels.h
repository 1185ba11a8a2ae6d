/* The inner loops of `_compiled.c`, in vectors of WIDTH elements, for processors that TARGET names; NAMED(x) is what x is
 * called there; LARGER and SMALLER tell the larger and the smaller of two, the second where either is NaN. Included once
 * for each width, without a guard, and takes these names away again. All widths give the same bits: an element is always added
 * to the same of the LANES, in the same order.
 */

#define Vector NAMED(Vector)
#define Bits NAMED(Bits)
#define Powers NAMED(Powers)
#define Unaligned NAMED(Unaligned)
#define Singles NAMED(Singles)
#define Words NAMED(Words)

/* Vectors of GCC and Clang, which operate elementwise; a comparison gives all bits of an element or none. */
typedef double Vector __attribute__((vector_size(WIDTH * sizeof(double))));
typedef int64_t Bits __attribute__((vector_size(WIDTH * sizeof(int64_t))));
typedef uint64_t Powers __attribute__((vector_size(WIDTH * sizeof(uint64_t))));
typedef double Unaligned __attribute__((vector_size(WIDTH * sizeof(double)), aligned(sizeof(double)), may_alias));
typedef uint32_t Words __attribute__((vector_size(WIDTH * sizeof(uint32_t))));
typedef float Singles __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

#define LANE (i % (LANES / WIDTH)) /* of the i-th vector */

TARGET static inline int NAMED(any)(Bits mask)
{
    int64_t bits = 0;
    for (int i = 0; i < WIDTH; i++)
        bits |= mask[i];
    return bits != 0;
}

/* The i-th vector of an array. */
TARGET static inline Vector NAMED(at)(const double *array, int64_t i)
{
    return ((const Unaligned *)array)[i];
}

TARGET static inline void NAMED(add_to)(double *array, int64_t i, Vector values)
{
    ((Unaligned *)array)[i] += values;
}

TARGET static inline Vector NAMED(absolute)(Vector values)
{
    return (Vector)((Bits)values & INT64_MAX);
}

/* The larger one; `other` where either is NaN. */
TARGET static inline Vector NAMED(larger)(Vector one, Vector other)
{
    return LARGER(one, other);
}

/* The smaller one; `other` where either is NaN. */
TARGET static inline Vector NAMED(smaller)(Vector one, Vector other)
{
    return SMALLER(one, other);
}

TARGET static inline void NAMED(raise_to)(double *array, int64_t i, Vector values)
{
    ((Unaligned *)array)[i] = NAMED(larger)(values, NAMED(at)(array, i));
}

TARGET static inline void NAMED(lower_to)(double *array, int64_t i, Vector values)
{
    ((Unaligned *)array)[i] = NAMED(smaller)(values, NAMED(at)(array, i));
}

/* 1 / the spacing of the dtype in the binade of each value, as `accuracy.oracles.rounding.ulp` has it: a power of 2,
 * whose exponent is the complement of the other's. */
TARGET static inline Vector NAMED(inverse_ulp)(Vector values, const Terms *terms)
{
    const Vector smallest = (Vector){0.0} + terms->smallest;
    const Bits binades = (Bits)values & (INT64_C(0x7FF) << 52);
    const uint64_t one = (uint64_t)(0x7FE + terms->mantissa) << 52;
    return (Vector)(one - (Powers)NAMED(larger)(smallest, (Vector)binades));
}

/* Whether any two of a chunk differ. */
TARGET static int NAMED(differ)(const double *one, const double *other)
{
    if (NAMED(any)(NAMED(at)(one, 0) != NAMED(at)(other, 0))) /* where some do, most do */
        return 1;
    Bits found = {0};
    for (int i = 1; i < CHUNK / WIDTH; i++)
        found |= NAMED(at)(one, i) != NAMED(at)(other, i);
    return NAMED(any)(found);
}

/* A chunk without an error, of which only the signal grows. Whether every expected value is below the threshold. */
TARGET static int NAMED(add_exact)(Sums *sums, const double *expected, const Terms *terms)
{
    Bits beyond = {0};
    for (int i = 0; i < CHUNK / WIDTH; i++) {
        const Vector wanted = NAMED(at)(expected, i);
        beyond |= ~(NAMED(absolute)(wanted) < terms->below);
        NAMED(add_to)((*sums)[SIGNAL], LANE, wanted * wanted);
    }
    return !NAMED(any)(beyond);
}

/* A chunk whose first `number` elements count; the others have no error and no signal. Whether every error is finite
 * and every expected value below the threshold. */
TARGET static int NAMED(add)(Tally *tally, Sums *sums, const double *const from[ARRAYS], int number, Py_ssize_t begin,
                             const Terms *terms)
{
    const double least = least_of(tally);
    Vector together = {0.0}, furthest = {0.0};
    double counted[HISTOGRAMS][CHUNK] __attribute__((aligned(WIDTH * sizeof(double))));
    uint32_t bins[HISTOGRAMS][CHUNK] __attribute__((aligned(WIDTH * sizeof(uint32_t))));

    Vector added[SUMS][LANES / WIDTH], highest[MAXIMA] = {{0.0}}, lowest[HISTOGRAMS];
    /* The largest κ so far, less what the three roundings of this, of its product with a scale and of a quotient may
     * come to, each at most EPSILON / 2 of itself; what underflows is less than DBL_MIN off. An element whose error is
     * at most that share of its scale cannot have a larger κ, and is not divided to tell. */
    const double kappa = largest(tally->maxima[KAPPA]) * (1 - 2 * DBL_EPSILON);
    Bits beyond = {0};
    memcpy(added, *sums, sizeof added);
    for (int which = 0; which < HISTOGRAMS; which++)
        lowest[which] = (Vector){0.0} + INFINITY;
    for (int i = 0; i < CHUNK / WIDTH; i++) {
        const Vector wanted = NAMED(at)(from[1], i), bound = NAMED(at)(from[2], i), scale = NAMED(at)(from[3], i);
        const Vector error = NAMED(at)(from[0], i) - wanted, product = error * wanted;
        const Vector size = NAMED(absolute)(error), magnitude = NAMED(absolute)(wanted);
        const Bits none = size == 0.0; /* 0, whatever it is divided by */
        const Vector quotients[HISTOGRAMS] = {size, size / NAMED(larger)(magnitude, scale), size / bound};
        Vector counts[HISTOGRAMS];
        for (int which = 0; which < HISTOGRAMS; which++) {
            lowest[which] = NAMED(smaller)((Vector)(none | (Bits)quotients[which]), lowest[which]);
            counts[which] = (Vector)(~none & (Bits)quotients[which]);
            highest[which] = NAMED(larger)(counts[which], highest[which]);
            ((Vector *)counted[which])[i] = counts[which];
            const Words single = (Words)__builtin_convertvector(counts[which], Singles);
            ((Words *)bins[which])[i] = (single & INT32_MAX) >> SHIFT;
        }
        added[MAGNITUDE][LANE] += size;
        added[TOTAL][LANE] += error;
        added[ENERGY][LANE] += error * error;
        added[CROSS][LANE] += product;
        added[SIGNAL][LANE] += wanted * wanted;
        added[SPREAD][LANE] += product * product;
        beyond |= ~(size <= kappa * scale - DBL_MIN);
        highest[ULPS] = NAMED(larger)(size * NAMED(inverse_ulp)(wanted, terms), highest[ULPS]);
        furthest = NAMED(larger)(magnitude, furthest);
        together += counts[RELATIVES] + counts[RATIOS];
    }
    if (NAMED(any)(beyond))
        for (int i = 0; i < CHUNK / WIDTH; i++) {
            const Vector size = ((const Vector *)counted[ERRORS])[i], quotient = size / NAMED(at)(from[3], i);
            highest[KAPPA] = NAMED(larger)((Vector)((size != 0.0) & (Bits)quotient), highest[KAPPA]);
        }
    memcpy(*sums, added, sizeof added);
    for (int maximum = 0; maximum < MAXIMA; maximum++)
        NAMED(raise_to)(tally->maxima[maximum], 0, highest[maximum]);
    for (int which = 0; which < HISTOGRAMS; which++)
        NAMED(lower_to)(tally->minima[which], 0, lowest[which]);
    if (NAMED(any)(~(highest[LARGEST] < INFINITY) | ~(furthest < terms->below)))
        return 0;
    const int uncertain = NAMED(any)(together != together);
    if (uncertain) /* `larger` passes NaN over, and keeps it where it is put */
        for (int i = 0; i < number; i++) {
            if (isnan(counted[ERRORS][i]))
                return 0;
            if (isnan(counted[RELATIVES][i]))
                tally->maxima[RELATIVE][0] = NAN;
            if (isnan(counted[RATIOS][i]))
                tally->maxima[RATIO][0] = NAN;
            if (isnan(from[3][i]) && counted[ERRORS][i] != 0.0)
                tally->maxima[KAPPA][0] = NAN;
        }
    for (int i = 0; i < number; i++) /* in turn, so that no count waits for itself */
        for (int which = 0; which < HISTOGRAMS; which++)
            tally->counts[which][bins[which][i]]++;
    if (uncertain || NAMED(any)(highest[RATIO] > least))
        for (int i = 0; i < number; i++)
            keep(tally, counted[RATIOS][i], begin + i);
    return 1;
}

TARGET static void NAMED(add_row)(const double *error, const double *expected, int64_t columns,
                                  double *const by_column[BY_COLUMN], double by_row[BY_ROW])
{
    double sums[BY_ROW][LANES] = {{0.0}};
    for (int64_t i = 0; i < columns / WIDTH; i++) {
        const Vector e = NAMED(at)(error, i), y = NAMED(at)(expected, i);
        const Vector product = e * y, square = product * product, signal = y * y;
        NAMED(add_to)(by_column[0], i, product);
        NAMED(add_to)(by_column[1], i, square);
        NAMED(add_to)(by_column[2], i, signal);
        NAMED(add_to)(by_column[3], i, e);
        NAMED(add_to)(by_column[4], i, e * e);
        NAMED(add_to)(sums[0], LANE, product);
        NAMED(add_to)(sums[1], LANE, square);
        NAMED(add_to)(sums[2], LANE, signal);
    }
    for (int64_t i = columns / WIDTH * WIDTH; i < columns; i++) {
        const double e = error[i], y = expected[i], product = e * y, square = product * product, signal = y * y;
        by_column[0][i] += product;
        by_column[1][i] += square;
        by_column[2][i] += signal;
        by_column[3][i] += e;
        by_column[4][i] += e * e;
        sums[0][i % LANES] += product;
        sums[1][i % LANES] += square;
        sums[2][i % LANES] += signal;
    }
    for (int sum = 0; sum < BY_ROW; sum++)
        by_row[sum] = folded(sums[sum]);
}

/* A chunk of a total error. Whether all is finite, and in `uncertain` whether a term is NaN. */
TARGET static int NAMED(split)(double sums[ENERGIES][LANES], double extents[EXTENTS][LANES],
                               const double *const from[PARTS], int *uncertain)
{
    Bits beyond = {0};
    Vector together = {0.0};
    for (int i = 0; i < CHUNK / WIDTH; i++) {
        const Vector seen = NAMED(at)(from[SEEN], i), oracle = NAMED(at)(from[ORACLE], i);
        const Vector replaced = NAMED(at)(from[REPLACED], i);
        const Vector total = seen - replaced, compute = seen - oracle, quantization = oracle - replaced;
        const Vector sizes[PARTS] = {NAMED(absolute)(seen), NAMED(absolute)(oracle), NAMED(absolute)(replaced)};
        const Vector apart = NAMED(absolute)(total - (compute + quantization));
        beyond |= ~(sizes[SEEN] < INFINITY) | ~(sizes[ORACLE] < INFINITY) | ~(sizes[REPLACED] < INFINITY);
        NAMED(add_to)(sums[TOTAL_ENERGY], LANE, total * total);
        NAMED(add_to)(sums[COMPUTE_ENERGY], LANE, compute * compute);
        NAMED(add_to)(sums[QUANTIZATION_ENERGY], LANE, quantization * quantization);
        NAMED(raise_to)(extents[APART], LANE, apart);
        NAMED(raise_to)(extents[ENTERING], LANE,
                        NAMED(larger)(sizes[SEEN], NAMED(larger)(sizes[ORACLE], sizes[REPLACED])));
        together += apart;
    }
    *uncertain |= NAMED(any)(together != together);
    return !NAMED(any)(beyond);
}

/* A chunk of an error and of what may be in it, whose elements that are not finite count as 0. */
TARGET static void NAMED(project)(double sums[BY_PART][LANES], const double *error, const float *part)
{
    Vector added[BY_PART][LANES / WIDTH];
    memcpy(added, sums, sizeof added);
    for (int i = 0; i < CHUNK / WIDTH; i++) {
        const Vector given = __builtin_convertvector(((const Singles *)part)[i], Vector);
        const Vector p = (Vector)((NAMED(absolute)(given) < INFINITY) & (Bits)given);
        const Vector product = NAMED(at)(error, i) * p;
        added[0][LANE] += product;
        added[1][LANE] += product * product;
        added[2][LANE] += p * p;
    }
    memcpy(sums, added, sizeof added);
}

static const Kernels NAMED(kernels) = {WIDTH,          NAMED(differ), NAMED(add_exact), NAMED(add),
                                       NAMED(add_row), NAMED(split),  NAMED(project)};

#undef Vector
#undef Bits
#undef Powers
#undef Unaligned
#undef Singles
#undef Words
#undef LANE
#undef WIDTH
#undef NAMED
#undef TARGET
#undef LARGER
#undef SMALLER
