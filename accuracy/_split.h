/* The split of `accuracy/decomposition.py`. Included once, by `_compiled.c`. */

/* The elements from `begin` to `end`, as in `add_block`. Whether all are finite. */
static int split_block(double energies[ENERGIES], double extents[EXTENTS][LANES], const double *const arrays[PARTS],
                       Py_ssize_t begin, Py_ssize_t end)
{
    double sums[ENERGIES][LANES] = {{0.0}};
    int finite = 1, uncertain = 0;
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const int number = end - place < CHUNK ? (int)(end - place) : CHUNK;
        const double *from[PARTS];
        double filled[PARTS][CHUNK];
        for (int part = 0; part < PARTS; part++)
            from[part] = chunk(arrays[part] + place, number, filled[part]);
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
    int finite = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOn:split", &objects[SEEN], &objects[ORACLE], &objects[REPLACED], &block))
        return NULL;
    const Py_ssize_t size = take_parts(arrays, views, objects, PARTS);
    if (size < 0)
        return NULL;
    if (block < 1) {
        PyErr_Format(PyExc_ValueError, "blocks of %zd elements; 1 or more are wanted", block);
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
    release(views, PARTS);
    return told;
}
