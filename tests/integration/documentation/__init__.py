"""The tutorials and how-to pages of the documentation, run block by block on a machine of their own.

`page` reads the blocks, `wheels` is the package index of a machine without the Internet, and `machine` is the machine.
"""
