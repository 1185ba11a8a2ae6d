"""Scripts that show one failure with torch and the library alone: from a stored row to at most 40 lines."""
