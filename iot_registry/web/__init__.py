"""HTTP: EST for devices, the JSON API for administrators, the change feed, and public data.

`route_table` lists every route. The application and the OpenAPI document are both made from it.
"""
