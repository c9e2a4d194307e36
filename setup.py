"""Map the folders `automl/`, `configs/`, … to the import package `tenshot`; everything else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("automl", "configs", "datasets", "projects", "serving")

setup(
    package_dir={"tenshot": "."},
    packages=[
        "tenshot." + name
        for name in find_namespace_packages(include=[*FOLDERS, *(folder + ".*" for folder in FOLDERS)])
    ],
    package_data={"": ["py.typed", "*.yaml", "*.html", "*.css", "*.mako"]},
)
