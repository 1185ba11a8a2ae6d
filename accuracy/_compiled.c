/* The totals of `accuracy/totals.py`, the strongest structure and the projections of `accuracy/structure.py` and the split of
 * `accuracy/decomposition.py`, each in one pass over a comparison. What they are is said there, in numpy: both give the
 * same bits.
 *
 * No result depends on the processor or the compiler: sums are taken in LANES lanes, each in the order of its elements,
 * and the build forbids contracted operations and never asks for fast arithmetic.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDER /* vectors of four, where the processor has them */
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LANES 8   /* as in accuracy/tally.py */
#define KEPT 8    /* as in accuracy/tally.py */
#define SHIFT 18  /* as in accuracy/histogram.py */
#define BINS (1 << (31 - SHIFT))
#define INFINITY_BIN (0x7F800000 >> SHIFT)
#define CHUNK 128 /* elements whose quotients are kept at once, in a few kilobytes: a multiple of LANES */
#define ARRAYS 4

enum { MAGNITUDE, TOTAL, ENERGY, CROSS, SIGNAL, SPREAD, SUMS };
enum { LARGEST, RELATIVE, RATIO, KAPPA, ULPS, MAXIMA };
enum { ERRORS, RELATIVES, RATIOS, HISTOGRAMS };

static const double shares[] = {0.5, 0.99}; /* as in accuracy/tally.py */
enum { SHARES = sizeof shares / sizeof *shares };

/* Columns of numbers, as `accuracy.case.Observation` has them. */
enum {
    ABS_MEAN, ABS_P50, ABS_P99, ABS_MAX, REL_P50, REL_P99, REL_MAX, REL_FRO,
    SQNR_DB, ULP_MAX, KAPPA_MAX, SLOPE, SLOPE_Z, MEAN_Z, WORST_RATIO, COLUMNS,
};
static const char *const column_texts[COLUMNS] = {
    "abs_mean", "abs_p50", "abs_p99", "abs_max", "rel_p50", "rel_p99", "rel_max", "rel_fro",
    "sqnr_db", "ulp_max", "kappa", "slope", "slope_z", "mean_z", "ratio",
};
/* What is told of one of the worst elements. */
enum { INDEX, ACTUAL, EXPECTED, LIMIT, RATIO_OF_ONE, TOLD };
static const char *const element_texts[TOLD] = {"index", "actual", "expected", "limit", "ratio"};

/* Sums over the rows of e·y, (e·y)², y², e and e², for each of the columns. */
enum { BY_COLUMN = 5 };
/* Sums over the columns of the first three, for each of the rows. */
enum { BY_ROW = 3 };

/* Sums of e·p, (e·p)² and p², for each part of what is expected. */
enum { BY_PART = 3 };

/* What was seen, the float64 product of the decoded operands, and the value of the layer that is replaced. */
enum { SEEN, ORACLE, REPLACED, PARTS };
/* Energies of the total error and of its two terms. */
enum { TOTAL_ENERGY, COMPUTE_ENERGY, QUANTIZATION_ENERGY, ENERGIES };
/* How far the terms are from adding up to the total, and the largest value that enters. */
enum { APART, ENTERING, EXTENTS };

typedef double Sums[SUMS][LANES];

typedef struct {
    double ratio;
    Py_ssize_t place;
} Worst;

typedef struct {
    double below;    /* the magnitude that expected values must not reach */
    double smallest; /* the smallest normal number of the dtype */
    int mantissa;    /* bits of its mantissa */
} Terms;

typedef struct {
    double sums[SUMS];
    double maxima[MAXIMA][LANES];
    Worst worst[KEPT];
    int kept;
    uint32_t exact;                    /* elements in chunks without an error, which are all in bin 0 */
    uint32_t lowest[HISTOGRAMS];       /* of the others the lowest bin above 0, less 1 */
    uint32_t highest[HISTOGRAMS];      /* and the highest one */
    uint32_t counts[HISTOGRAMS][BINS]; /* of the others; last, and all 0 between two tallies */
} Tally;

/* The inner loops, which `_kernels.h` has for each width. */
typedef struct {
    int (*differ)(const double *one, const double *other);
    int (*add_exact)(Sums *sums, const double *expected, const Terms *terms);
    int (*add)(Tally *tally, Sums *sums, const double *const from[ARRAYS], int number, Py_ssize_t begin,
               const Terms *terms);
    void (*add_row)(const double *error, const double *expected, int64_t columns, double *const by_column[BY_COLUMN],
                    double by_row[BY_ROW]);
    int (*split)(double sums[ENERGIES][LANES], double extents[EXTENTS][LANES], const double *const from[PARTS],
                 int *uncertain);
    void (*project)(double sums[BY_PART][LANES], const double *error, const float *part);
} Kernels;

/* NaN ranks as an infinity. */
static inline double rank(double ratio)
{
    return isnan(ratio) ? INFINITY : ratio;
}

/* What an element must exceed to be one of the worst; of equal ones the first stay. */
static inline double least_of(const Tally *tally)
{
    return tally->kept < KEPT ? 0.0 : rank(tally->worst[KEPT - 1].ratio);
}

static void keep(Tally *tally, double ratio, Py_ssize_t place)
{
    if (!(rank(ratio) > least_of(tally)))
        return;
    int at = tally->kept < KEPT ? tally->kept++ : KEPT - 1;
    for (; at > 0 && rank(tally->worst[at - 1].ratio) < rank(ratio); at--)
        tally->worst[at] = tally->worst[at - 1];
    tally->worst[at] = (Worst){ratio, place};
}

/* Lanes to one sum: the second half of them on the first, until one is left. */
static double folded(const double sum[LANES])
{
    double lanes[LANES];
    memcpy(lanes, sum, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}

/* Registers of any 64-bit processor hold two elements. */
#define WIDTH 2
#define NAMED(name) name##_of_two
#define TARGET
#ifdef __SSE2__
#define LARGER(one, other) _mm_max_pd(one, other) /* no compiler finds it without being told that there is no NaN */
#else
#define LARGER(one, other) ((Vector)(((one > other) & (Bits)one) | (~(one > other) & (Bits)other)))
#endif
#include "_kernels.h"
#undef WIDTH
#undef NAMED
#undef TARGET
#undef LARGER

#ifdef WIDER
#define WIDTH 4
#define NAMED(name) name##_of_four
#define TARGET __attribute__((target("avx2")))
#define LARGER(one, other) _mm256_max_pd(one, other)
#include "_kernels.h"
#undef WIDTH
#undef NAMED
#undef TARGET
#undef LARGER
#endif

static const Kernels *kernels = &kernels_of_two;

static const Kernels *widest(void)
{
#ifdef WIDER
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        return &kernels_of_four;
#endif
    return &kernels_of_two;
}

/* The elements from `begin` to `end`, whose sums are added up before they join those before. Whether all is ordinary. */
static int add_block(Tally *tally, const double *const arrays[ARRAYS], Py_ssize_t begin, Py_ssize_t end,
                     const Terms *terms)
{
    Sums sums = {{0.0}};
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const int number = end - place < CHUNK ? (int)(end - place) : CHUNK;
        const double *from[ARRAYS] = {arrays[0] + place, arrays[1] + place, arrays[2] + place, arrays[3] + place};
        double filled[ARRAYS][CHUNK];
        if (number < CHUNK) {
            memset(filled, 0, sizeof filled);
            for (int array = 0; array < ARRAYS; array++) {
                memcpy(filled[array], from[array], sizeof(double) * (size_t)number);
                from[array] = filled[array];
            }
        }
        if (kernels->differ(from[0], from[1])) {
            if (!kernels->add(tally, &sums, from, number, place, terms))
                return 0;
            continue;
        }
        if (!kernels->add_exact(&sums, from[1], terms))
            return 0;
        tally->exact += (uint32_t)number;
    }
    for (int sum = 0; sum < SUMS; sum++)
        tally->sums[sum] += folded(sums[sum]);
    return 1;
}

/* A histogram as pairs of a bin and how often it is met. */
typedef struct {
    uint16_t bins[BINS];
    uint32_t numbers[BINS];
    Py_ssize_t occupied;
} Pairs;

static void take_one(Pairs *pairs, uint32_t *counts, uint32_t bin)
{
    if (!counts[bin])
        return;
    pairs->bins[pairs->occupied] = (uint16_t)bin;
    pairs->numbers[pairs->occupied++] = counts[bin];
    counts[bin] = 0;
}

/* The bins that are occupied; the counts are 0 then. Only those are looked at that may be: all of them would be a
 * hundred kilobytes, of which nothing is in the caches between two comparisons. */
static void take(Pairs *pairs, Tally *tally, int which)
{
    uint32_t *counts = tally->counts[which];
    pairs->occupied = 0;
    counts[0] += tally->exact;
    take_one(pairs, counts, 0);
    for (uint32_t bin = tally->lowest[which] + 1; bin && bin <= tally->highest[which]; bin++)
        take_one(pairs, counts, bin);
}

/* The middle of a bin, as `centre` in accuracy/histogram.py. */
static double centre(uint32_t bin)
{
    uint32_t bits = bin << SHIFT;
    float value;
    if (bin > 0 && bin < INFINITY_BIN)
        bits |= 1u << (SHIFT - 1);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* As `quantiles` in accuracy/histogram.py, of a histogram with mass. */
static void quantiles(double found[SHARES], const Pairs *pairs)
{
    int64_t all = 0;
    for (Py_ssize_t at = 0; at < pairs->occupied; at++)
        all += pairs->numbers[at];
    for (int share = 0; share < SHARES; share++) {
        const double needed = fmax(1.0, ceil(shares[share] * (double)all));
        int64_t reached = 0;
        Py_ssize_t at = 0;
        while (at < pairs->occupied - 1 && (double)(reached += pairs->numbers[at]) < needed)
            at++;
        found[share] = centre(pairs->bins[at]);
    }
}

/* Bins, in 16 bits. */
static PyObject *bins_of(const Pairs *pairs)
{
    return PyByteArray_FromStringAndSize((const char *)pairs->bins, pairs->occupied * (Py_ssize_t)sizeof *pairs->bins);
}

/* Numbers in 32 bits, or 16 where all elements are fewer than that. */
static PyObject *numbers_of(const Pairs *pairs, int narrow)
{
    const Py_ssize_t width = narrow ? sizeof(uint16_t) : sizeof(uint32_t);
    PyObject *bytes = PyByteArray_FromStringAndSize((const char *)pairs->numbers, pairs->occupied * width);
    char *into = bytes ? PyByteArray_AsString(bytes) : NULL;
    for (Py_ssize_t at = 0; into && narrow && at < pairs->occupied; at++) {
        const uint16_t number = (uint16_t)pairs->numbers[at];
        memcpy(into + at * width, &number, sizeof number);
    }
    return bytes;
}

static double largest(const double lanes[LANES])
{
    double found = 0.0;
    for (int lane = 0; lane < LANES && !isnan(found); lane++)
        if (!(lanes[lane] <= found))
            found = lanes[lane];
    return found;
}

/* Names of columns and of what is told of one element, as objects; in the order of what they name. */
static PyObject *names[COLUMNS], *bins_names[2], *counts_names[2], *element_names[TOLD];

/* Sets a number by name. Whether that went well. */
static int set(PyObject *in, PyObject *name, double value)
{
    PyObject *number = PyFloat_FromDouble(value);
    const int set = number && PyDict_SetItem(in, name, number) == 0;
    Py_XDECREF(number);
    return set;
}

/* Sets an object by name, and takes it. Whether there was one, and that went well. */
static int give(PyObject *in, PyObject *name, PyObject *object)
{
    const int set = object && PyDict_SetItem(in, name, object) == 0;
    Py_XDECREF(object);
    return set;
}

/* The columns of numbers, as `in_numpy` of accuracy/totals.py has them. */
static void statistics(double found[COLUMNS], const Tally *tally, Py_ssize_t size, const Pairs pairs[HISTOGRAMS])
{
    const double *sums = tally->sums, energy = sums[ENERGY], signal = sums[SIGNAL];
    const int flat = signal == 0 || sums[SPREAD] == 0;
    const double relative = energy == 0 ? 0.0 : signal != 0 ? sqrt(energy / signal) : INFINITY;
    double of_errors[SHARES], of_relatives[SHARES];
    quantiles(of_errors, &pairs[ERRORS]);
    quantiles(of_relatives, &pairs[RELATIVES]);
    found[ABS_MEAN] = sums[MAGNITUDE] / (double)size;
    found[ABS_P50] = of_errors[0];
    found[ABS_P99] = of_errors[1];
    found[ABS_MAX] = largest(tally->maxima[LARGEST]);
    found[REL_P50] = of_relatives[0];
    found[REL_P99] = of_relatives[1];
    found[REL_MAX] = largest(tally->maxima[RELATIVE]);
    found[REL_FRO] = relative;
    found[SQNR_DB] = relative == 0 ? INFINITY : isfinite(relative) ? -20 * log10(relative) : -INFINITY;
    found[ULP_MAX] = largest(tally->maxima[ULPS]);
    found[KAPPA_MAX] = largest(tally->maxima[KAPPA]);
    found[SLOPE] = flat ? 0.0 : sums[CROSS] / signal;
    found[SLOPE_Z] = flat ? 0.0 : sums[CROSS] / sqrt(sums[SPREAD]);
    found[MEAN_Z] = energy != 0 ? sums[TOTAL] / sqrt(energy) : 0.0;
    found[WORST_RATIO] = largest(tally->maxima[RATIO]);
}

/* The index of an element from its place in row-major order. */
static PyObject *index_of(Py_ssize_t place, PyObject *shape)
{
    const Py_ssize_t dimensions = PyTuple_Size(shape);
    PyObject *index = PyList_New(dimensions);
    for (Py_ssize_t at = dimensions - 1; index && at >= 0; at--) {
        const Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(shape, at));
        PyObject *along = size > 0 ? PyLong_FromSsize_t(place % size) : NULL;
        if (!along || PyList_SetItem(index, at, along) < 0)
            Py_CLEAR(index);
        else
            place /= size;
    }
    return index;
}

/* The worst elements, the worst one first. */
static PyObject *elements_of(const Tally *tally, const double *const arrays[ARRAYS], PyObject *shape)
{
    PyObject *all = PyList_New(tally->kept);
    for (int at = 0; all && at < tally->kept; at++) {
        const Py_ssize_t place = tally->worst[at].place;
        PyObject *one = PyDict_New();
        if (!one || !give(one, element_names[INDEX], index_of(place, shape)) ||
            !set(one, element_names[ACTUAL], arrays[0][place]) ||
            !set(one, element_names[EXPECTED], arrays[1][place]) ||
            !set(one, element_names[LIMIT], arrays[2][place]) ||
            !set(one, element_names[RATIO_OF_ONE], tally->worst[at].ratio)) {
            Py_XDECREF(one);
            Py_CLEAR(all);
        } else if (PyList_SetItem(all, at, one) < 0)
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *answer(Tally *tally, const double *const arrays[ARRAYS], Py_ssize_t size, PyObject *shape)
{
    static Pairs pairs[HISTOGRAMS]; /* whoever is here holds the lock of the interpreter */
    static const int kept[2] = {ERRORS, RATIOS};
    double found[COLUMNS];
    PyObject *columns = PyDict_New();
    for (int which = 0; which < HISTOGRAMS; which++)
        take(&pairs[which], tally, which);
    statistics(found, tally, size, pairs);
    int well = columns != NULL;
    for (int column = 0; well && column < COLUMNS; column++)
        well = set(columns, names[column], found[column]);
    for (int which = 0; well && which < 2; which++) {
        const Pairs *each = &pairs[kept[which]];
        well = give(columns, bins_names[which], bins_of(each)) &&
               give(columns, counts_names[which], numbers_of(each, size <= UINT16_MAX));
    }
    if (!well)
        Py_CLEAR(columns);
    /* "N" takes what it is given, and makes nothing where one of them is NULL. */
    return Py_BuildValue("(NN)", columns, well ? elements_of(tally, arrays, shape) : NULL);
}

/* The elements of a buffer, which holds floats of `bits` in row-major order without gaps; else an exception. */
static const void *floats(PyObject *object, Py_buffer *view, int bits)
{
    const Py_ssize_t bytes = bits / 8;
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_STRIDES) < 0)
        return NULL;
    if (view->format && !strcmp(view->format, bits == 64 ? "d" : "f") && view->itemsize == bytes &&
        PyBuffer_IsContiguous(view, 'C') && (uintptr_t)view->buf % (uintptr_t)bytes == 0)
        return view->buf;
    PyErr_Format(PyExc_ValueError, "an array of %d dimensions and format %s; one of float%d without gaps is wanted",
                 view->ndim, view->format ? view->format : "B", bits);
    PyBuffer_Release(view);
    return NULL;
}

/* How many elements a buffer holds. */
static Py_ssize_t number_of(const Py_buffer *view)
{
    return view->len / view->itemsize;
}

static const double *elements(PyObject *object, Py_buffer *view)
{
    return floats(object, view, 64);
}

/* How many elements a shape has, -1 where it is none. */
static Py_ssize_t elements_in(PyObject *shape)
{
    Py_ssize_t all = 1;
    for (Py_ssize_t at = 0; at < PyTuple_Size(shape); at++) {
        const Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(shape, at));
        if (size < 0 || (size > 0 && all > PY_SSIZE_T_MAX / size))
            return -1;
        all *= size;
    }
    return all;
}

static PyObject *totals_of(PyObject *module, PyObject *args)
{
    PyObject *objects[ARRAYS], *shape, *told = NULL;
    Py_buffer views[ARRAYS];
    const double *arrays[ARRAYS];
    Terms terms;
    Py_ssize_t block;
    int held = 0;
    static Tally tally; /* whoever is here holds the lock of the interpreter */
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO!ddin:totals", &objects[0], &objects[1], &objects[2], &objects[3], &PyTuple_Type,
                          &shape, &terms.below, &terms.smallest, &terms.mantissa, &block))
        return NULL;
    for (; held < ARRAYS; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = number_of(&views[0]);
    for (int other = 1; other < ARRAYS; other++)
        if (number_of(&views[other]) != size) {
            PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; equal lengths are wanted", size,
                         number_of(&views[other]));
            goto end;
        }
    if (elements_in(shape) != size) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%zd elements of shape %R; as many as it has are wanted", size, shape);
        goto end;
    }
    if (!(terms.smallest >= DBL_MIN) || terms.mantissa < 0 || terms.mantissa >= DBL_MANT_DIG) {
        PyErr_Format(PyExc_ValueError, "%d bits of mantissa; a dtype that float64 holds is wanted", terms.mantissa);
        goto end;
    }
    if (block < 1 || (uint64_t)size > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%zd elements in blocks of %zd; fewer than 2**32, in blocks of 1 or more, are wanted",
                     size, block);
        goto end;
    }
    memset(&tally, 0, offsetof(Tally, counts));
    memset(tally.lowest, 0xFF, sizeof tally.lowest);
    int ordinary = 1;
    for (Py_ssize_t begin = 0, left = size; ordinary && left > 0;) {
        const Py_ssize_t taken = left < block ? left : block;
        ordinary = add_block(&tally, arrays, begin, begin + taken, &terms);
        begin += taken;
        left -= taken;
    }
    told = ordinary ? answer(&tally, arrays, size, shape) : Py_NewRef(Py_None);
    if (!told || !ordinary)
        memset(tally.counts, 0, sizeof tally.counts);
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

/* The sum of numbers in lanes. */
static double total(const double *numbers, Py_ssize_t number)
{
    double lanes[LANES] = {0.0};
    for (Py_ssize_t at = 0; at < number; at++)
        lanes[at % LANES] += numbers[at];
    return folded(lanes);
}

/* The strongest structure of those that were looked at. */
typedef struct {
    double z, effect;
    Py_ssize_t at, looked_at;
} Strongest;

static void look_at(Strongest *found, double z, double effect, double least)
{
    if (fabs(effect) > least && isfinite(z) && fabs(z) > fabs(found->z)) {
        found->z = z;
        found->effect = effect;
        found->at = found->looked_at;
    }
    found->looked_at++;
}

/* A group from its sums of e·y, (e·y)² and y². */
static void look_at_slope(Strongest *found, double cross, double spread, double signal, double least)
{
    look_at(found, cross / sqrt(spread), cross / signal, least);
}

/* A group of so many elements from its sums of e, e² and y². */
static void look_at_mean(Strongest *found, double sum, double energy, double signal, double number, double least)
{
    look_at(found, sum / sqrt(energy), sum / number / sqrt(signal / number), least);
}

/* The strongest structure of an error of whole rows, and of `number` blocks by their sums. */
static int strongest(Strongest *found, const double *error, const double *expected, Py_ssize_t rows,
                     Py_ssize_t columns, const double *blocks, Py_ssize_t number, double least)
{
    double *by_column[BY_COLUMN], *by_row[BY_ROW], all[BY_COLUMN];
    double *sums = PyMem_Calloc((size_t)(BY_COLUMN * columns + BY_ROW * rows), sizeof(double));
    if (!sums)
        return 0;
    for (int sum = 0; sum < BY_COLUMN; sum++)
        by_column[sum] = sums + sum * columns;
    for (int sum = 0; sum < BY_ROW; sum++)
        by_row[sum] = sums + BY_COLUMN * columns + sum * rows;
    for (Py_ssize_t row = 0; row < rows; row++) {
        double of_row[BY_ROW];
        kernels->add_row(error + row * columns, expected + row * columns, columns, by_column, of_row);
        for (int sum = 0; sum < BY_ROW; sum++)
            by_row[sum][row] = of_row[sum];
    }
    for (int sum = 0; sum < BY_COLUMN; sum++)
        all[sum] = total(by_column[sum], columns);
    look_at_slope(found, all[0], all[1], all[2], least);
    for (Py_ssize_t at = 0; at < columns; at++)
        look_at_slope(found, by_column[0][at], by_column[1][at], by_column[2][at], least);
    for (Py_ssize_t at = 0; at < rows; at++)
        look_at_slope(found, by_row[0][at], by_row[1][at], by_row[2][at], least);
    look_at_mean(found, all[3], all[4], all[2], (double)(rows * columns), least);
    for (Py_ssize_t at = 0; at < columns; at++)
        look_at_mean(found, by_column[3][at], by_column[4][at], by_column[2][at], (double)rows, least);
    for (Py_ssize_t at = 0; at < number; at++)
        look_at_slope(found, blocks[BY_PART * at], blocks[BY_PART * at + 1], blocks[BY_PART * at + 2], least);
    PyMem_Free(sums);
    return 1;
}

static PyObject *strongest_of(PyObject *module, PyObject *args)
{
    PyObject *objects[3], *told = NULL;
    Py_buffer views[3];
    const double *arrays[3];
    double least;
    int held = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOd:strongest", &objects[0], &objects[1], &objects[2], &least))
        return NULL;
    for (; held < 3; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = number_of(&views[0]), blocks = number_of(&views[2]);
    const Py_ssize_t columns = views[0].ndim ? views[0].shape[views[0].ndim - 1] : 1;
    if (!size || number_of(&views[1]) != size || blocks % BY_PART || size > PY_SSIZE_T_MAX / 64) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements, and %zd sums of blocks; as many of both, at least "
                     "one, and %d sums a block are wanted", size, number_of(&views[1]), blocks, BY_PART);
        goto end;
    }
    Strongest found = {0};
    told = strongest(&found, arrays[0], arrays[1], size / columns, columns, arrays[2], blocks / BY_PART, least)
               ? Py_BuildValue("ddn", found.z, found.effect, found.at)
               : PyErr_NoMemory();
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

/* The three sums of one part, of as many elements as the error. */
static void project(double found[BY_PART], const double *error, const float *part, Py_ssize_t size)
{
    double sums[BY_PART][LANES] = {{0.0}};
    Py_ssize_t place = 0;
    for (; place <= size - CHUNK; place += CHUNK)
        kernels->project(sums, error + place, part + place);
    double last_error[CHUNK] = {0.0};
    float last_part[CHUNK] = {0.0F};
    memcpy(last_error, error + place, sizeof(double) * (size_t)(size - place));
    memcpy(last_part, part + place, sizeof(float) * (size_t)(size - place));
    kernels->project(sums, last_error, last_part);
    for (int sum = 0; sum < BY_PART; sum++)
        found[sum] = folded(sums[sum]);
}

static PyObject *projected_on(PyObject *module, PyObject *args)
{
    PyObject *error, *parts, *told = NULL;
    Py_buffer errors, all;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:projected", &error, &parts))
        return NULL;
    const double *first = elements(error, &errors);
    if (!first)
        return NULL;
    const float *second = floats(parts, &all, 32);
    if (!second)
        goto end;
    const Py_ssize_t size = number_of(&errors), number = size ? number_of(&all) / size : 0;
    if (!size || number * size != number_of(&all)) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; parts as long as the error are wanted", size,
                     number_of(&all));
        goto both;
    }
    told = PyByteArray_FromStringAndSize(NULL, number * BY_PART * (Py_ssize_t)sizeof(double));
    char *into = told ? PyByteArray_AsString(told) : NULL;
    for (Py_ssize_t part = 0; into && part < number; part++) {
        double found[BY_PART];
        project(found, first, second + part * size, size);
        memcpy(into + part * (Py_ssize_t)sizeof found, found, sizeof found);
    }
both:
    PyBuffer_Release(&all);
end:
    PyBuffer_Release(&errors);
    return told;
}

/* The elements from `begin` to `end`, as in `add_block`. Whether all are finite. */
static int split_block(double energies[ENERGIES], double extents[EXTENTS][LANES], const double *const arrays[PARTS],
                       Py_ssize_t begin, Py_ssize_t end)
{
    double sums[ENERGIES][LANES] = {{0.0}};
    int finite = 1, uncertain = 0;
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const Py_ssize_t number = end - place < CHUNK ? end - place : CHUNK;
        const double *from[PARTS] = {arrays[SEEN] + place, arrays[ORACLE] + place, arrays[REPLACED] + place};
        double filled[PARTS][CHUNK];
        if (number < CHUNK) {
            memset(filled, 0, sizeof filled);
            for (int part = 0; part < PARTS; part++) {
                memcpy(filled[part], from[part], sizeof(double) * (size_t)number);
                from[part] = filled[part];
            }
        }
        finite &= kernels->split(sums, extents, from, &uncertain);
    }
    if (uncertain) /* as in `add` */
        extents[APART][0] = NAN;
    for (int sum = 0; sum < ENERGIES; sum++)
        energies[sum] += folded(sums[sum]);
    return finite;
}

static PyObject *split_of(PyObject *module, PyObject *args)
{
    PyObject *objects[PARTS], *told = NULL;
    Py_buffer views[PARTS];
    const double *arrays[PARTS];
    Py_ssize_t block;
    int held = 0, finite = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOn:split", &objects[SEEN], &objects[ORACLE], &objects[REPLACED], &block))
        return NULL;
    for (; held < PARTS; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = number_of(&views[SEEN]);
    if (number_of(&views[ORACLE]) != size || number_of(&views[REPLACED]) != size || block < 1) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd, %zd and %zd elements in blocks of %zd; equal lengths are wanted",
                     size, number_of(&views[ORACLE]), number_of(&views[REPLACED]), block);
        goto end;
    }
    double energies[ENERGIES] = {0.0};
    double extents[EXTENTS][LANES] = {{0.0}};
    for (Py_ssize_t begin = 0, left = size; finite && left > 0;) {
        const Py_ssize_t taken = left < block ? left : block;
        finite = split_block(energies, extents, arrays, begin, begin + taken);
        begin += taken;
        left -= taken;
    }
    told = finite ? Py_BuildValue("ddddd", energies[TOTAL_ENERGY], energies[COMPUTE_ENERGY],
                                  energies[QUANTIZATION_ENERGY], largest(extents[APART]), largest(extents[ENTERING]))
                  : Py_NewRef(Py_None);
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

/* Chooses the width of vectors, 2 or 4, and says which it is: the widest there is, unless a narrower one is asked for. */
static PyObject *width_of(PyObject *module, PyObject *args)
{
    int most = 4;
    (void)module;
    if (!PyArg_ParseTuple(args, "|i:width", &most))
        return NULL;
    kernels = most < 4 ? &kernels_of_two : widest();
    return PyLong_FromLong(kernels == &kernels_of_two ? 2 : 4);
}

static PyMethodDef methods[] = {
    {"totals", totals_of, METH_VARARGS, "The columns of a comparison by name, and its worst elements."},
    {"strongest", strongest_of, METH_VARARGS, "z, effect and number of the strongest structure of an error."},
    {"projected", projected_on, METH_VARARGS, "Of e·p, (e·p)² and p² for each part p that an error e may hold, float64."},
    {"split", split_of, METH_VARARGS, "Energies and extents of a total error and its terms, in the order of `Split`."},
    {"width", width_of, METH_VARARGS, "Elements in a vector from now on: as many as the processor holds, at most those given."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "accuracy._compiled",
    .m_doc = "What a comparison is in one pass.",
    .m_methods = methods,
};

/* Strings of Python, the same for every dictionary, so that keys are not made and hashed again and again. */
static int intern(PyObject **objects, const char *const *texts, int number)
{
    int well = 1;
    for (int at = 0; well && at < number; at++)
        well = objects[at] || (objects[at] = PyUnicode_InternFromString(texts[at]));
    return well;
}

PyMODINIT_FUNC PyInit__compiled(void)
{
    static const char *const bins_texts[2] = {"abs_bins", "ratio_bins"};
    static const char *const counts_texts[2] = {"abs_counts", "ratio_counts"};
    if (!intern(names, column_texts, COLUMNS) || !intern(element_names, element_texts, TOLD) ||
        !intern(bins_names, bins_texts, 2) || !intern(counts_names, counts_texts, 2))
        return NULL;
    kernels = widest();
    return PyModuleDef_Init(&definition);
}
