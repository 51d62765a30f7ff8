"""The HTTPS server: EST for devices, the JSON API for administrators, public CA certificates, the change
feed."""
