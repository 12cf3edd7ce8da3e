import { context, propagation } from "@opentelemetry/api";
import type { TextMapSetter } from "@opentelemetry/api";
import type { RpcMetadata, RpcOptions } from "@protobuf-ts/runtime-rpc";
import type { SiloGRPCClientOptions } from "./options";

const lowerCaseSetter: TextMapSetter<RpcMetadata> = {
  set(carrier, key, value) {
    carrier[key.toLowerCase()] = value;
  },
};

/**
 * The options of one call: the caller's, which are not changed, with the bearer token and the
 * active trace context added to the metadata.
 * @throws what the caller's functions throw.
 */
export async function makeCallOptions(
  options: Pick<SiloGRPCClientOptions, "rpcOptions" | "token">,
): Promise<RpcOptions> {
  const active = context.active();
  const given =
    typeof options.rpcOptions === "function" ? options.rpcOptions() : options.rpcOptions;
  const meta: RpcMetadata = { ...given?.meta };
  const token = typeof options.token === "function" ? await options.token() : options.token;
  if (token !== undefined && token !== "") {
    meta.authorization = `Bearer ${token}`;
  }
  propagation.inject(active, meta, lowerCaseSetter);
  return { ...given, meta };
}
