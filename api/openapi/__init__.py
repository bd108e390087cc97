"""The API's description: an OpenAPI document, made from the routes themselves."""
