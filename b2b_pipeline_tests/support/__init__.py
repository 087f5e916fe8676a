"""What tests share: installations, servers, warehouses, the world at rest."""
