from ..support.farms import brisk, broker_url, farm, make_farm, service, standing_farm

__all__ = ["brisk", "broker_url", "farm", "make_farm", "service", "standing_farm"]
