"""Segmentation of many scans on several processes or machines; the only package that imports Dask."""
