"""grpcio with reflection (v1alpha, which Python's client asks for) and health against a running exchange.

Nothing of ours is imported: messages are built from what reflection tells.
"""
import os

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(os.environ["ATOLL_GRPC"])
health = health_pb2_grpc.HealthStub(channel)
assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING

database = ProtoReflectionDescriptorDatabase(channel)
services = database.get_services()
for name in (
    "atoll.exchange.v1.ExchangeService",
    "atoll.market_data.v1.MarketDataService",
    "atoll.agent.v1.AgentService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
):
    assert name in services, services

pool = descriptor_pool.DescriptorPool(database)


def message(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


Request = message("atoll.exchange.v1.SubmitJobRequest")
Response = message("atoll.exchange.v1.SubmitJobResponse")
submit = channel.unary_stream(
    "/atoll.exchange.v1.ExchangeService/SubmitJob",
    request_serializer=Request.SerializeToString,
    response_deserializer=Response.FromString,
)
metadata = [("authorization", "Bearer " + os.environ["OPENAI_API_KEY"])]
request = Request(model=os.environ["ATOLL_MODEL"])
job = request.inputs.add(max_tokens=24)
job.messages.add(role="user", content="What is the capital of France?")

events = [(event.WhichOneof("event"), event) for event in submit(request, metadata=metadata, timeout=120)]
kinds = [kind for kind, _ in events]
assert kinds[0] == "accepted" and "matched" in kinds and kinds[-1] == "completed", kinds
text = "".join(event.output.text for kind, event in events if kind == "output")
assert "Paris" in text, text
completed = events[-1][1].completed
assert completed.bill.charge_nano > 0 and len(completed.receipts) == 1, completed

for change, code in [
    (lambda r: setattr(r, "model", "no-such-model"), grpc.StatusCode.NOT_FOUND),
    (lambda r: setattr(r.terms, "limit", 0), grpc.StatusCode.INVALID_ARGUMENT),
    (lambda r: r.ClearField("inputs"), grpc.StatusCode.INVALID_ARGUMENT),
]:
    bad = Request()
    bad.CopyFrom(request)
    change(bad)
    try:
        list(submit(bad, metadata=metadata, timeout=30))
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata()), error
    else:
        raise AssertionError(f"{code} was expected")
try:
    list(submit(request, timeout=30))
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
print("ok")
