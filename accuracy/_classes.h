/* The classes of `accuracy/classes.py`. Included once, by `_compiled.c`. */

/* Whether an element is finite, an infinity or NaN as it should be. */
static int rightly(double seen, double expected, double bound, double threshold)
{
    const double off = isnan(bound) ? 0.0 : bound;
    if (isfinite(seen) && fabs(expected) - off < threshold)
        return 1;
    if (isfinite(expected))
        return isinf(seen) && (seen > 0 ? expected : -expected) + off >= threshold;
    return seen == expected || (isnan(seen) && isnan(expected));
}

static PyObject *classes_of(PyObject *module, PyObject *args)
{
    PyObject *objects[ARRAYS], *told = NULL;
    Py_buffer views[ARRAYS];
    const double *arrays[ARRAYS];
    double threshold, *finite = NULL;
    int64_t *wrong = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOd:classes", &objects[0], &objects[1], &objects[2], &objects[3], &threshold))
        return NULL;
    const Py_ssize_t size = take_parts(arrays, views, objects, ARRAYS);
    if (size < 0)
        return NULL;
    /* Places of both kinds, and then all four parts of the finite ones. */
    wrong = PyMem_Calloc((size_t)(2 * size) + 1, sizeof *wrong);
    finite = PyMem_Calloc((size_t)(ARRAYS * size) + 1, sizeof *finite);
    if (!wrong || !finite) {
        PyErr_NoMemory();
        goto end;
    }
    int64_t *places = wrong + size;
    Py_ssize_t wrongs = 0, finites = 0;
    for (Py_ssize_t place = 0; place < size; place++) {
        const double seen = arrays[0][place], expected = arrays[1][place];
        if (!rightly(seen, expected, arrays[2][place], threshold))
            wrong[wrongs++] = place;
        if (isfinite(seen) && isfinite(expected)) {
            places[finites] = place;
            for (int array = 0; array < ARRAYS; array++)
                finite[array * size + finites] = arrays[array][place];
            finites++;
        }
    }
    const Py_ssize_t bytes = finites * (Py_ssize_t)sizeof(double);
    told = Py_BuildValue("y#y#(y#y#y#y#)", wrong, wrongs * (Py_ssize_t)sizeof *wrong, places, bytes, finite, bytes,
                         finite + size, bytes, finite + 2 * size, bytes, finite + 3 * size, bytes);
end:
    PyMem_Free(wrong);
    PyMem_Free(finite);
    release(views, ARRAYS);
    return told;
}
