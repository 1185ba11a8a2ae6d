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
#define WIDER /* vectors of four and eight, where the processor has them */
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LANES 8   /* as in accuracy/tally.py */
#define KEPT 8    /* as in accuracy/tally.py */
#define SAMPLED 16 /* as in accuracy/fingerprint.py */
#define SHIFT 18  /* as in accuracy/histogram.py */
#define BINS (1 << (31 - SHIFT))
#define INFINITY_BIN (0x7F800000 >> SHIFT)
#define CHUNK 128 /* elements whose quotients are kept at once, in a few kilobytes: a multiple of LANES */
#define ARRAYS 4

enum { MAGNITUDE, TOTAL, ENERGY, CROSS, SIGNAL, SPREAD, SUMS };
enum { ERRORS, RELATIVES, RATIOS, HISTOGRAMS };
/* The first are those of what is counted, under the same numbers. */
enum { LARGEST = ERRORS, RELATIVE = RELATIVES, RATIO = RATIOS, KAPPA, ULPS, MAXIMA };

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
    double minima[HISTOGRAMS][LANES]; /* of what is counted, where it is above 0 */
    Worst worst[KEPT];
    int kept;
    uint32_t exact;                    /* elements in chunks without an error, which are all in bin 0 */
    uint32_t counts[HISTOGRAMS][BINS]; /* of the others; last, and all 0 between two tallies */
} Tally;

/* The inner loops, which `_kernels.h` has for each width. */
typedef struct {
    int width;
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

/* The largest of lanes; NaN where one is none. */
static double largest(const double lanes[LANES])
{
    double found = 0.0;
    for (int lane = 0; lane < LANES && !isnan(found); lane++)
        if (!(lanes[lane] <= found))
            found = lanes[lane];
    return found;
}

/* Registers of any 64-bit processor hold two elements. */
#define WIDTH 2
#define NAMED(name) name##_of_two
#define TARGET
#ifdef __SSE2__
#define LARGER(one, other) _mm_max_pd(one, other) /* no compiler finds it without being told that there is no NaN */
#define SMALLER(one, other) _mm_min_pd(one, other)
#else
#define LARGER(one, other) ((Vector)(((one > other) & (Bits)one) | (~(one > other) & (Bits)other)))
#define SMALLER(one, other) ((Vector)(((one < other) & (Bits)one) | (~(one < other) & (Bits)other)))
#endif
#include "_kernels.h"

#ifdef WIDER
#define WIDTH 4
#define NAMED(name) name##_of_four
#define TARGET __attribute__((target("avx2")))
#define LARGER(one, other) _mm256_max_pd(one, other)
#define SMALLER(one, other) _mm256_min_pd(one, other)
#include "_kernels.h"

#define WIDTH 8
#define NAMED(name) name##_of_eight
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define LARGER(one, other) _mm512_max_pd(one, other)
#define SMALLER(one, other) _mm512_min_pd(one, other)
#include "_kernels.h"
#endif

static const Kernels *kernels = &kernels_of_two;

/* The widest kernels that the processor has, of so many elements at most. */
static const Kernels *widest(int most)
{
#ifdef WIDER
    __builtin_cpu_init();
    if (most >= 8 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &kernels_of_eight;
    if (most >= 4 && __builtin_cpu_supports("avx2"))
        return &kernels_of_four;
#endif
    (void)most;
    return &kernels_of_two;
}

/* A whole chunk that begins with so many elements: themselves, or copies with zeros behind them where they are fewer. */
static const double *chunk(const double *elements, int number, double filled[CHUNK])
{
    if (number == CHUNK)
        return elements;
    memcpy(filled, elements, sizeof(double) * (size_t)number);
    memset(filled + number, 0, sizeof(double) * (size_t)(CHUNK - number));
    return filled;
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

/* What is asked of a tensor, as objects; and of torch, which is there where a tensor is. */
enum { CONTIGUOUS, NBYTES, DATA_PTR, DTYPE, IS_CPU, ASKED };
static const char *const asked_texts[ASKED] = {"contiguous", "nbytes", "data_ptr", "dtype", "is_cpu"};
static PyObject *asked[ASKED], *tensor_type, *float64;

/* Whether an object is a tensor of torch; less than 0 if that could not be told. */
static int is_tensor(PyObject *object)
{
    if (!tensor_type) {
        PyObject *torch = PyImport_ImportModule("torch");
        float64 = torch && !float64 ? PyObject_GetAttrString(torch, "float64") : float64;
        tensor_type = float64 ? PyObject_GetAttrString(torch, "Tensor") : NULL;
        Py_XDECREF(torch);
    }
    return tensor_type ? PyType_IsSubtype(Py_TYPE(object), (PyTypeObject *)tensor_type) : -1;
}

/* The memory of a tensor on the CPU, of this dtype if one is given, or of a copy of it without gaps that the view holds;
 * else an exception. A tensor has no buffer, and to make an array of it takes longer than all that is asked of it here. */
static const void *of_tensor(PyObject *tensor, Py_buffer *view, const PyObject *wanted)
{
    void *first = NULL;
    PyObject *whole = PyObject_CallMethodObjArgs(tensor, asked[CONTIGUOUS], NULL);
    PyObject *dtype = whole ? PyObject_GetAttr(whole, asked[DTYPE]) : NULL;
    PyObject *here = dtype ? PyObject_GetAttr(whole, asked[IS_CPU]) : NULL;
    if (here && ((wanted && dtype != wanted) || here != Py_True))
        PyErr_Format(PyExc_ValueError, "a tensor of %S on the %s; one of %S on the CPU is wanted", dtype,
                     here == Py_True ? "CPU" : "device", wanted ? wanted : dtype);
    PyObject *bytes = PyErr_Occurred() ? NULL : PyObject_GetAttr(whole, asked[NBYTES]);
    PyObject *address = bytes ? PyObject_CallMethodObjArgs(whole, asked[DATA_PTR], NULL) : NULL;
    if (address) {
        static char nowhere[sizeof(double)]; /* where a tensor without elements is */
        const Py_ssize_t number = PyLong_AsSsize_t(bytes);
        first = number ? PyLong_AsVoidPtr(address) : nowhere;
        if (PyErr_Occurred() || PyBuffer_FillInfo(view, whole, first, number, 1, PyBUF_SIMPLE) < 0)
            first = NULL;
    }
    Py_XDECREF(address);
    Py_XDECREF(bytes);
    Py_XDECREF(here);
    Py_XDECREF(dtype);
    Py_XDECREF(whole);
    return first;
}

/* Shows the bytes of a tensor on the CPU, in row-major order, to a function, which must not keep them. */
static PyObject *show_to(PyObject *module, PyObject *args)
{
    PyObject *function, *tensor, *told = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:show", &function, &tensor))
        return NULL;
    Py_buffer view;
    const int known = is_tensor(tensor);
    if (!known)
        PyErr_Format(PyExc_TypeError, "%R; a tensor is wanted", tensor);
    if (known < 1 || !of_tensor(tensor, &view, NULL))
        return NULL;
    PyObject *memory = PyMemoryView_FromMemory(view.buf, view.len, PyBUF_READ);
    told = memory ? PyObject_CallFunctionObjArgs(function, memory, NULL) : NULL;
    PyObject *type, *error, *trace; /* what the function raised; it may have kept the memory all the same */
    PyErr_Fetch(&type, &error, &trace);
    PyObject *released = memory ? PyObject_CallMethod(memory, "release", NULL) : NULL;
    if (!told)
        PyErr_Restore(type, error, trace);
    else if (!released)
        Py_CLEAR(told);
    Py_XDECREF(released);
    Py_XDECREF(memory);
    PyBuffer_Release(&view);
    return told;
}

/* The elements of a buffer or of a tensor, float64; else an exception. */
static const double *numbers(PyObject *object, Py_buffer *view)
{
    const int known = PyObject_CheckBuffer(object) ? 0 : is_tensor(object);
    if (known < 1)
        return known < 0 ? NULL : elements(object, view);
    const double *first = of_tensor(object, view, float64);
    view->itemsize = sizeof(double);
    return first;
}

static void release(Py_buffer *views, int number)
{
    while (number > 0)
        PyBuffer_Release(&views[--number]);
}

/* Takes so many parts of a comparison, and tells how many elements each has; -1 and an exception if they differ. */
static Py_ssize_t take_parts(const double **parts, Py_buffer *views, PyObject *const *objects, int number)
{
    for (int held = 0; held < number; held++) {
        parts[held] = numbers(objects[held], &views[held]);
        if (!parts[held]) {
            release(views, held);
            return -1;
        }
        if (number_of(&views[held]) != number_of(&views[0])) {
            PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; equal lengths are wanted", number_of(&views[0]),
                         number_of(&views[held]));
            release(views, held + 1);
            return -1;
        }
    }
    return number_of(&views[0]);
}

#include "_classes.h"
#include "_split.h"
#include "_structure.h"
#include "_totals.h"

/* Chooses the width of vectors, and says which it is: the widest there is, unless a narrower one is asked for. */
static PyObject *width_of(PyObject *module, PyObject *args)
{
    int most = LANES;
    (void)module;
    if (!PyArg_ParseTuple(args, "|i:width", &most))
        return NULL;
    kernels = widest(most);
    return PyLong_FromLong(kernels->width);
}

static PyMethodDef methods[] = {
    {"totals", totals_of, METH_VARARGS, "The columns of a comparison by name, its worst elements, and two samples."},
    {"classes", classes_of, METH_VARARGS, "Places of elements of the wrong class, those of finite ones, and these."},
    {"strongest", strongest_of, METH_VARARGS, "z, effect and number of the strongest structure of an error."},
    {"projected", projected_on, METH_VARARGS, "Of e·p, (e·p)² and p² for each part p that an error e may hold, float64."},
    {"split", split_of, METH_VARARGS, "Energies and extents of a total error and its terms, in the order of `Split`."},
    {"show", show_to, METH_VARARGS, "What a function makes of the bytes of a tensor on the CPU, which it must not keep."},
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
    if (!intern(asked, asked_texts, ASKED) || !intern(names, column_texts, COLUMNS) ||
        !intern(element_names, element_texts, TOLD) ||
        !intern(bins_names, bins_texts, 2) || !intern(counts_names, counts_texts, 2))
        return NULL;
    kernels = widest(LANES);
    return PyModuleDef_Init(&definition);
}
