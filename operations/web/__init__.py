"""HTTPS: the JSON API, the change feed, what nodes report, SCIM, health and metrics.

`route_table` lists every route. The application and the OpenAPI document are both made from it.
"""
